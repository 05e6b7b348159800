"""fsck finds every kind of damage, names the files that suffer, and is quiet otherwise."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from app.db.tables import Content, Encoding, File, Segment, StoredObject
from app.gc.fsck import fsck
from tests.fixtures.models import ModelHub, Stock, base_weights, card, stock_hub, tuned, weight_file

TENSOR = "embed_tokens.weight"
PLACE = "model/alice/base@main:weights/model.safetensors"


def fill(models: ModelHub) -> None:
    base = base_weights()
    models.push("alice/base", {"README.md": card(), "weights/model.safetensors": weight_file(base)})
    models.run_jobs()
    models.push("bob/tune", tuned(base, 1))
    models.run_jobs()


@pytest.fixture(scope="module")
def stock(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock_hub(tmp_path_factory.mktemp("sound"), migrated_sqlite, fill)


@pytest.fixture
def sound(stock: Stock, tmp_path: Path) -> Iterator[ModelHub]:
    """A base in a directory, a fine-tune of it, all encoded."""
    with stock.copied(tmp_path / "data") as models:
        yield models


def kinds(models: ModelHub, *, deep: bool = False) -> set[str]:
    return {problem.kind for problem in fsck(models.hub, deep=deep).problems}


def places(models: ModelHub, *, deep: bool = False) -> set[str]:
    problems = fsck(models.hub, deep=deep).problems
    return {place for problem in problems for place in problem.places}


def dependents(models: ModelHub, *, deep: bool = False) -> set[str]:
    problems = fsck(models.hub, deep=deep).problems
    return {place for problem in problems for place in problem.dependents}


def object_of(models: ModelHub, repo: str) -> tuple[str, Encoding]:
    encoding = models.encodings(repo)[TENSOR]
    with models.hub.db.read() as session:
        return session.get_one(StoredObject, encoding.object_id).key, encoding


def change(models: ModelHub, statement) -> None:
    models.hub.db.run(lambda session: session.execute(statement))


def test_sound_hub_is_clean(sound: ModelHub):
    told: list[tuple[int, int]] = []
    report = fsck(sound.hub, deep=True, progress=lambda done, total: told.append((done, total)))
    assert report.clean
    assert report.files >= 3
    assert report.objects >= 2
    assert told[-1][0] == told[-1][1] > report.verified_nbytes > 0


def test_lost_object_is_named_by_repository_and_path(sound: ModelHub):
    key, _ = object_of(sound, "alice/base")
    sound.hub.store.delete(key)
    assert "lost-object" in kinds(sound)
    assert PLACE in places(sound)


def test_truncated_object_is_found_by_listing_alone(sound: ModelHub):
    key, _ = object_of(sound, "alice/base")
    sound.hub.store.delete(key)
    sound.hub.store.put(key, [b"short"])
    assert kinds(sound) == {"lost-object"}


def test_flipped_bit_is_found_by_reading_and_blames_dependents_too(sound: ModelHub):
    key, encoding = object_of(sound, "alice/base")
    nbytes = sound.hub.store.stat(key).nbytes  # type: ignore[union-attr]
    data = bytearray(sound.hub.store.read(key, 0, nbytes))
    data[encoding.start + 1000] ^= 4
    sound.hub.store.delete(key)
    sound.hub.store.put(key, [bytes(data)])
    assert kinds(sound) == set()
    assert kinds(sound, deep=True) == {"damaged-content"}
    assert places(sound, deep=True) == {PLACE}
    assert dependents(sound, deep=True) == {"model/bob/tune@main:model.safetensors"}


def test_unknown_object_is_reported(sound: ModelHub):
    sound.hub.store.put("o/elsewhere/aa/stray", [b"?"])
    assert kinds(sound) == {"unknown-object"}


def test_missing_segment_is_found(sound: ModelHub):
    content = sound.encodings("alice/base")[TENSOR].content_id
    change(sound, delete(Segment).where(Segment.content_id == content))
    assert kinds(sound) == {"segments"}
    assert places(sound) == {PLACE}


def test_wrong_order_of_segments_is_found_by_hashing_the_file(sound: ModelHub):
    encodings = sound.encodings("alice/base")
    up = [encodings[f"layers.{n}.up.weight"].content_id for n in (0, 1)]
    with sound.hub.db.write() as session:
        rows = session.scalars(select(Segment).where(Segment.content_id.in_(up))).all()
        first, second = sorted(rows, key=lambda row: row.start)[:2]
        first.content_id, second.content_id = second.content_id, first.content_id
    assert kinds(sound) == set()
    assert kinds(sound, deep=True) == {"wrong-bytes"}
    assert places(sound, deep=True) == {PLACE}


def test_content_without_encoding_is_found(sound: ModelHub):
    content = sound.encodings("bob/tune")[TENSOR].content_id
    change(sound, delete(Encoding).where(Encoding.content_id == content))
    assert kinds(sound) == {"no-encoding"}


def test_delta_of_a_delta_is_found(sound: ModelHub):
    base, tune = (sound.encodings(repo)[TENSOR] for repo in ("alice/base", "bob/tune"))
    other = sound.encodings("alice/base")["lm_head.weight"].content_id
    change(
        sound,
        update(Encoding).where(Encoding.content_id == base.content_id).values(base_id=other),
    )
    assert tune.base_id == base.content_id
    assert "base" in kinds(sound)


def test_encoding_outside_its_object_is_found(sound: ModelHub):
    content = sound.encodings("alice/base")[TENSOR].content_id
    change(sound, update(Encoding).where(Encoding.content_id == content).values(start=1 << 40))
    assert kinds(sound) == {"out-of-bounds"}


def test_encoding_in_a_retired_object_is_found(sound: ModelHub):
    _, encoding = object_of(sound, "alice/base")
    change(
        sound,
        update(StoredObject).where(StoredObject.id == encoding.object_id).values(state="retired"),
    )
    assert kinds(sound) == {"dead-object"}


def test_checks_that_do_not_fit_are_found(sound: ModelHub):
    content = sound.encodings("alice/base")[TENSOR].content_id
    change(sound, update(Encoding).where(Encoding.content_id == content).values(checks=b"short"))
    assert kinds(sound) == {"wrong-size"}


def test_condemned_file_that_a_commit_shows_is_found(sound: ModelHub):
    change(sound, update(File).where(File.format == "safetensors").values(state="condemned"))
    assert kinds(sound) == {"condemned-file"}


def test_content_marked_damaged_is_found(sound: ModelHub):
    content = sound.encodings("alice/base")[TENSOR].content_id
    change(sound, update(Content).where(Content.id == content).values(health="damaged"))
    assert kinds(sound) == {"damaged-content"}
    assert places(sound) == {PLACE}
