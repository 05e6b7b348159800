"""One file from a stream: what is stored, what is refused, what a repetition costs."""

import dataclasses
import hashlib
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.contents import objects
from app.contents.readback import OPINIONS
from app.db.tables import Content, Encoding, File, FileGrant, Lease, Repo, Segment, StoredObject
from app.errors import IntegrityError, LimitExceeded, RepoNotFound, Unavailable
from app.hub import Hub
from app.ingest.files import IngestedFile
from app.ingest.stream import ingest_stream
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.files import gguf_of, safetensors_of
from tests.fixtures.ingested import (
    assert_file_whole,
    assert_nothing_visible,
    count,
    in_chunks,
    make_repo,
    rows,
)

RNG = random.Random(11)
MODEL = safetensors_of(
    {
        "embed": ("F32", [256, 1024], RNG.randbytes(1 << 20)),
        "layer": ("BF16", [1000, 771], RNG.randbytes(2 * 771_000)),
        "norm": ("F16", [7], RNG.randbytes(14)),
        "empty": ("F32", [0], b""),
    }
)
GGUF = gguf_of({"w": (0, (300, 100), RNG.randbytes(120_000)), "q": (2, (32, 3), RNG.randbytes(54))})
ARCHIVE = RNG.randbytes(9_000_001)
FILES = {
    "safetensors": MODEL,
    "gguf": GGUF,
    "opaque": ARCHIVE,
    "text": b"# A model\n" * 20_000,
    "small": b"{}",
    "empty": b"",
}


def upload(hub: Hub, data: bytes, repo_id: int, *, step: int = 65_536) -> IngestedFile:
    return ingest_stream(
        hub,
        in_chunks(data, step),
        nbytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        repo_id=repo_id,
    )


@pytest.mark.parametrize("step", [1_000, 65_536, 5 << 20])
@pytest.mark.parametrize("name", FILES)
def test_file_is_stored_byte_for_byte_however_it_arrives(
    hub: Hub, repo_id: int, name: str, step: int
):
    data = FILES[name]
    file = upload(hub, data, repo_id, step=step)
    assert (file.sha256, file.nbytes) == (hashlib.sha256(data).digest(), len(data))
    assert_file_whole(hub, file.file_id, data)
    assert [(grant.repo_id, grant.file_id) for grant in rows(hub, FileGrant)] == [
        (repo_id, file.file_id)
    ]
    (lease,) = rows(hub, Lease)
    assert lease.file_id == file.file_id
    assert lease.owner.startswith("upload:")
    assert (lease.expires_at - hub.clock.now()).total_seconds() == hub.settings.timers.lease_s
    (stored,) = rows(hub, StoredObject)
    assert stored.state == ("live" if data else "retired")


def test_file_is_stored_in_every_mode(any_hub: Hub):
    for data in FILES.values():
        file = upload(any_hub, data, make_repo(any_hub, f"r{len(data)}"))
        assert_file_whole(any_hub, file.file_id, data)


def test_tensors_are_segments_with_name_dtype_and_shape(hub: Hub, repo_id: int):
    upload(hub, MODEL, repo_id)
    segments = [(s.role, s.name, s.dtype, s.shape) for s in rows(hub, Segment)]
    assert segments == [
        ("literal", None, None, None),
        ("tensor", "embed", "F32", "[256,1024]"),
        ("tensor", "layer", "BF16", "[1000,771]"),
        ("tensor", "norm", "F16", "[7]"),
    ]
    (file,) = rows(hub, File)
    assert (file.format, file.warning) == ("safetensors", None)


def test_odd_model_is_stored_as_chunks_with_a_warning(hub: Hub, repo_id: int):
    data = MODEL + b"trailing"
    file = upload(hub, data, repo_id)
    assert_file_whole(hub, file.file_id, data)
    (row,) = rows(hub, File)
    assert row.format == "opaque"
    assert "8 trailing bytes" in row.warning
    assert {segment.role for segment in rows(hub, Segment)} == {"chunk"}


def test_big_opaque_file_is_cut_into_chunks_and_a_small_one_is_not(hub: Hub, repo_id: int):
    upload(hub, ARCHIVE, repo_id)
    assert len(rows(hub, Segment)) > 3
    upload(hub, FILES["text"], repo_id)
    assert [s.role for s in rows(hub, Segment) if s.role != "chunk"] == ["literal"]


def test_file_of_unknown_size_is_opaque(hub: Hub, repo_id: int):
    for data in (MODEL, FILES["text"], b"", FILES["small"]):
        file = ingest_stream(
            hub, in_chunks(data, 65_536), nbytes=None, sha256=None, repo_id=repo_id
        )
        assert_file_whole(hub, file.file_id, data)
    assert {row.format for row in rows(hub, File)} == {"opaque"}
    assert {row.git_oid for row in rows(hub, File)} == {None}


def test_regular_file_gets_its_git_blob_id(hub: Hub, repo_id: int):
    upload(hub, b"hello\n", repo_id)
    assert rows(hub, File)[0].git_oid == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_file_too_big_for_git_has_no_blob_id(hub: Hub, repo_id: int):
    limits = hub.settings.limits.model_copy(update={"regular_nbytes": 5})
    hub.settings = hub.settings.model_copy(update={"limits": limits})
    upload(hub, b"123456", repo_id)
    upload(hub, b"12345", repo_id)
    assert [row.git_oid is None for row in rows(hub, File)] == [True, False]


def test_second_upload_links_the_file_and_stores_nothing(any_hub: Hub):
    first_repo, second_repo = make_repo(any_hub, "first"), make_repo(any_hub, "second")
    first = upload(any_hub, MODEL, first_repo)
    before = count(any_hub, Content), count(any_hub, Segment), count(any_hub, Encoding)
    again = upload(any_hub, MODEL, first_repo)
    other = upload(any_hub, MODEL, second_repo)
    assert first == again == other
    assert before == (count(any_hub, Content), count(any_hub, Segment), count(any_hub, Encoding))
    assert sorted(grant.repo_id for grant in rows(any_hub, FileGrant)) == [first_repo, second_repo]
    assert count(any_hub, Lease) == 3
    assert sorted(row.state for row in rows(any_hub, StoredObject)) == [
        "live",
        "retired",
        "retired",
    ]
    assert_file_whole(any_hub, first.file_id, MODEL)


def test_second_model_links_the_tensors_it_shares(any_hub: Hub):
    repo_id = make_repo(any_hub)
    shared = RNG.randbytes(100_000)
    one = safetensors_of({"a": ("U8", [100_000], shared), "b": ("U8", [5], b"12345")})
    two = safetensors_of({"z": ("I8", [10, 10_000], shared), "c": ("U8", [5], b"67890")})
    first, second = upload(any_hub, one, repo_id), upload(any_hub, two, repo_id)
    assert_file_whole(any_hub, first.file_id, one)
    assert_file_whole(any_hub, second.file_id, two)
    assert count(any_hub, Content) == 5
    assert {row.state for row in rows(any_hub, StoredObject)} == {"live"}


def test_tied_tensors_are_one_content(any_hub: Hub):
    raw = RNG.randbytes(50_000)
    data = safetensors_of({name: ("U8", [50_000], raw) for name in ("head", "embed", "copy")})
    file = upload(any_hub, data, make_repo(any_hub))
    assert count(any_hub, Content) == 2
    assert count(any_hub, Segment) == 4
    assert_file_whole(any_hub, file.file_id, data)


@pytest.mark.parametrize(
    ("nbytes", "sha256", "fault"),
    [
        (len(MODEL) + 1, None, "only 2"),
        (len(MODEL) - 1, None, "at least 2"),
        (0, None, "0 bytes were announced"),
        (len(MODEL), bytes(32), "announced was 0000"),
        (None, bytes(32), "have sha256"),
    ],
)
def test_other_bytes_than_announced_leave_nothing(
    hub: Hub, repo_id: int, nbytes: int | None, sha256: bytes | None, fault: str
):
    with pytest.raises(IntegrityError, match=fault):
        ingest_stream(hub, in_chunks(MODEL, 10_000), nbytes=nbytes, sha256=sha256, repo_id=repo_id)
    assert_nothing_visible(hub)
    assert list(hub.store.list()) == []
    assert [row.state for row in rows(hub, StoredObject)] == ["retired"]
    assert_file_whole(hub, upload(hub, MODEL, repo_id).file_id, MODEL)


def test_stream_is_not_read_beyond_the_announced_size(hub: Hub, repo_id: int):
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with pytest.raises(IntegrityError):
        ingest_stream(hub, endless(), nbytes=3 << 20, sha256=None, repo_id=repo_id)
    limits = hub.settings.limits.model_copy(update={"file_nbytes": 3 << 20})
    hub.settings = hub.settings.model_copy(update={"limits": limits})
    with pytest.raises(LimitExceeded, match=r"limits\.file_nbytes"):
        ingest_stream(hub, endless(), nbytes=None, sha256=None, repo_id=repo_id)
    with pytest.raises(LimitExceeded, match=r"limits\.file_nbytes"):
        ingest_stream(hub, endless(), nbytes=4 << 20, sha256=None, repo_id=repo_id)
    assert_nothing_visible(hub)
    assert list(hub.store.list()) == []


def test_sender_that_goes_away_leaves_nothing(hub: Hub, repo_id: int):
    class Gone(Exception):
        pass

    def broken() -> Iterator[bytes]:
        yield MODEL[: len(MODEL) // 2]
        raise Gone

    with pytest.raises(Gone):
        ingest_stream(hub, broken(), nbytes=len(MODEL), sha256=None, repo_id=repo_id)
    assert_nothing_visible(hub)
    assert list(hub.store.list()) == []


def test_store_that_returns_other_bytes_is_noticed_before_the_answer(hub: Hub, repo_id: int):
    sound, faulty = hub.store, FaultyStore(hub.store)
    hub.store = faulty
    faulty.fail("read", *[Fault.WRONG_BYTES] * OPINIONS)
    with pytest.raises(Unavailable, match="send them again"):
        upload(hub, MODEL, repo_id)
    assert_nothing_visible(hub)
    hub.store = sound
    assert_file_whole(hub, upload(hub, MODEL, repo_id).file_id, MODEL)


def test_read_back_can_be_turned_off(hub: Hub, repo_id: int):
    hub.settings = hub.settings.model_copy(update={"verify_upload": "off"})
    hub.store = faulty = FaultyStore(hub.store)
    file = upload(hub, MODEL, repo_id)
    assert [operation for operation, _ in faulty.calls] == ["put"]
    assert_file_whole(hub, file.file_id, MODEL)


def test_repository_deleted_meanwhile_is_named(hub: Hub, repo_id: int):
    with hub.db.write() as session:
        session.delete(session.get_one(Repo, repo_id))
    with pytest.raises(RepoNotFound):
        upload(hub, MODEL, repo_id)
    assert_nothing_visible(hub)


def test_upload_given_up_on_cannot_publish(any_hub: Hub):
    repo_id = make_repo(any_hub)

    def slow() -> Iterator[bytes]:
        yield MODEL
        (stored,) = rows(any_hub, StoredObject)
        with any_hub.db.write() as session:  # the collector takes the intent away
            session.delete(session.get_one(StoredObject, stored.id))

    with pytest.raises(objects.ObjectLost):
        ingest_stream(any_hub, slow(), nbytes=len(MODEL), sha256=None, repo_id=repo_id)
    assert_nothing_visible(any_hub)
    assert_file_whole(any_hub, upload(any_hub, MODEL, repo_id).file_id, MODEL)


def test_long_upload_keeps_its_intent_alive(hub: Hub, repo_id: int):
    start = hub.clock.now()

    def slow() -> Iterator[bytes]:
        for chunk in in_chunks(ARCHIVE, 1 << 20):
            hub.clock.sleep(hub.settings.timers.intent_s / 3)
            yield chunk
        (stored,) = rows(hub, StoredObject)
        assert stored.expires_at > hub.clock.now() > start

    file = ingest_stream(hub, slow(), nbytes=len(ARCHIVE), sha256=None, repo_id=repo_id)
    assert_file_whole(hub, file.file_id, ARCHIVE)


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 100_000),
    st.binary(max_size=3),
)
def test_any_file_comes_back(hub: Hub, parts: list[tuple[int, bool]], step: int, trailing: bytes):
    repos = rows(hub, Repo)
    repo_id = repos[0].id if repos else make_repo(hub)
    tensors = {
        f"t{i}": ("U8", [nbytes], (bytes if zero else RNG.randbytes)(nbytes))
        for i, (nbytes, zero) in enumerate(parts)
    }
    data = safetensors_of(tensors) + trailing
    assert_file_whole(hub, upload(hub, data, repo_id, step=step).file_id, data)


def test_answer_is_plain_data(hub: Hub, repo_id: int):
    file = upload(hub, b"x", repo_id)
    assert dataclasses.asdict(file) == {
        "file_id": file.file_id,
        "sha256": hashlib.sha256(b"x").digest(),
        "nbytes": 1,
    }
