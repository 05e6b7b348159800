"""The publishing transaction: linking, healing, resurrection, and uploads that race."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from app.db.tables import (
    Content,
    Encoding,
    File,
    FileGrant,
    FormerEncoding,
    Segment,
    StoredObject,
)
from app.hub import Hub
from app.ingest.files import IngestedFile
from app.ingest.stream import ingest_stream
from tests.fixtures.files import safetensors_of
from tests.fixtures.ingested import assert_file_whole, count, make_repo, rows

A, B, C = (bytes([i]) * 40_000 for i in (1, 2, 3))


def model(*raws: bytes) -> bytes:
    return safetensors_of({f"t{i}": ("U8", [len(raw)], raw) for i, raw in enumerate(raws)})


def upload(hub: Hub, data: bytes, repo_id: int) -> IngestedFile:
    sha256 = hashlib.sha256(data).digest()
    return ingest_stream(hub, [data], nbytes=len(data), sha256=sha256, repo_id=repo_id)


def damage(hub: Hub, raw: bytes) -> int:
    """Mark the content of ``raw`` and all its files as a failed read does; returns its id."""
    with hub.db.write() as session:
        content = session.scalars(
            select(Content).join(Segment).where(Content.nbytes == len(raw), Segment.name == "t0")
        ).first()
        assert content is not None
        content.health = "damaged"
        files = select(Segment.file_id).where(Segment.content_id == content.id)
        session.execute(
            update(File)
            .where(File.id.in_(files))
            .values(health="damaged")
            .execution_options(synchronize_session=False)
        )
        return content.id


def test_upload_of_a_damaged_file_heals_it(any_hub: Hub):
    repo_id = make_repo(any_hub)
    first = upload(any_hub, model(A, B), repo_id)
    content_id = damage(any_hub, A)
    (old,) = [e for e in rows(any_hub, Encoding) if e.content_id == content_id]
    again = upload(any_hub, model(A, B), repo_id)
    assert again.file_id == first.file_id
    assert_file_whole(any_hub, first.file_id, model(A, B))
    (new,) = [e for e in rows(any_hub, Encoding) if e.content_id == content_id]
    assert new.object_id != old.object_id
    (former,) = rows(any_hub, FormerEncoding)
    assert (former.content_id, former.object_id) == (content_id, old.object_id)
    # The rest of the file still lies in the old object.
    assert [row.state for row in rows(any_hub, StoredObject)] == ["live", "live"]


def test_upload_of_another_file_heals_the_content_and_every_file_that_holds_it(any_hub: Hub):
    repo_id = make_repo(any_hub)
    first = upload(any_hub, model(A), repo_id)
    damage(any_hub, A)
    second = upload(any_hub, model(A, C), repo_id)
    assert_file_whole(any_hub, first.file_id, model(A))
    assert_file_whole(any_hub, second.file_id, model(A, C))


def test_file_with_another_damaged_content_stays_damaged(hub: Hub, repo_id: int):
    first = upload(hub, model(A, B), repo_id)
    with hub.db.write() as session:
        session.execute(update(Content).values(health="damaged"))
        session.execute(update(File).values(health="damaged"))
    upload(hub, model(A, C), repo_id)
    (file,) = [row for row in rows(hub, File) if row.id == first.file_id]
    assert file.health == "damaged"


def test_object_without_any_encoding_left_is_retired_by_healing(hub: Hub, repo_id: int):
    first = upload(hub, model(A), repo_id)
    with hub.db.write() as session:
        session.execute(update(Content).values(health="damaged"))
    upload(hub, model(A), repo_id)
    assert [row.state for row in rows(hub, StoredObject)] == ["retired", "live"]
    assert_file_whole(hub, first.file_id, model(A))


def test_file_that_was_stored_opaque_is_cut_anew_when_it_is_healed(hub: Hub, repo_id: int):
    data = model(A, B)
    first = ingest_stream(hub, [data], nbytes=None, sha256=None, repo_id=repo_id)
    with hub.db.write() as session:
        session.execute(update(Content).values(health="damaged"))
    again = upload(hub, data, repo_id)
    assert again.file_id == first.file_id
    (file,) = rows(hub, File)
    assert file.format == "safetensors"
    assert_file_whole(hub, first.file_id, data)


def test_condemned_file_and_contents_live_again(any_hub: Hub):
    repo_id = make_repo(any_hub)
    file = upload(any_hub, model(A, B), repo_id)
    now = any_hub.clock.now()
    with any_hub.db.write() as session:
        session.execute(update(File).values(state="condemned", condemned_at=now))
        session.execute(update(Content).values(state="condemned", condemned_at=now))
    upload(any_hub, model(A, B), repo_id)
    assert_file_whole(any_hub, file.file_id, model(A, B))
    assert {row.condemned_at for row in [*rows(any_hub, File), *rows(any_hub, Content)]} == {None}


def test_condemned_content_lives_again_for_another_file(any_hub: Hub):
    repo_id = make_repo(any_hub)
    upload(any_hub, model(A), repo_id)
    with any_hub.db.write() as session:
        session.execute(update(Content).values(state="condemned", condemned_at=any_hub.clock.now()))
    second = upload(any_hub, model(A, B), repo_id)
    assert_file_whole(any_hub, second.file_id, model(A, B))


def test_content_without_an_encoding_gets_one(hub: Hub, repo_id: int):
    first = upload(hub, model(A, B), repo_id)
    with hub.db.write() as session:
        session.delete(session.scalars(select(Encoding)).all()[1])
    upload(hub, model(A, B), repo_id)
    assert_file_whole(hub, first.file_id, model(A, B))


def meeting(barrier: threading.Barrier, data: bytes) -> Iterator[bytes]:
    """A stream whose end waits for the others', so that all publish at once."""
    yield data
    barrier.wait(60)


@pytest.mark.parametrize("writers", [2, 6])
def test_racing_uploads_of_the_same_bytes_store_them_once(any_hub: Hub, writers: int):
    data = model(A, B, A)
    repos = [make_repo(any_hub, f"racer-{i}") for i in range(writers)]
    barrier = threading.Barrier(writers)

    def race(repo_id: int) -> IngestedFile:
        stream = meeting(barrier, data)
        return ingest_stream(any_hub, stream, nbytes=len(data), sha256=None, repo_id=repo_id)

    with ThreadPoolExecutor(writers) as pool:
        files = list(pool.map(race, repos))
    assert len({file.file_id for file in files}) == 1
    assert count(any_hub, Content) == count(any_hub, Encoding) == 3
    assert count(any_hub, FileGrant) == writers
    states = [row.state for row in rows(any_hub, StoredObject)]
    assert sorted(states) == ["live", *["retired"] * (writers - 1)]
    assert_file_whole(any_hub, files[0].file_id, data)


def test_racing_uploads_that_share_tensors_in_another_order_both_succeed(any_hub: Hub):
    models = [model(A, B, C), model(C, B, A), model(B, A), model(C, A)]
    barrier = threading.Barrier(len(models))
    repo_id = make_repo(any_hub)

    def race(data: bytes) -> IngestedFile:
        stream = meeting(barrier, data)
        return ingest_stream(any_hub, stream, nbytes=len(data), sha256=None, repo_id=repo_id)

    with ThreadPoolExecutor(len(models)) as pool:
        files = list(pool.map(race, models))
    for file, data in zip(files, models, strict=True):
        assert_file_whole(any_hub, file.file_id, data)
    assert count(any_hub, Content) == 3 + 2  # headers of equal layout are shared too
