"""`clade fsck`, `gc` and `reencode` on a hub with a model in it."""

import contextlib
from pathlib import Path

from sqlalchemy import update

from app.db.tables import Encoding
from app.hub import open_hub
from app.settings import Settings
from tests.fixtures.command import Clade, flip_bit, objects_of


def test_flipped_bit_is_named_by_repo_and_path(clade: Clade, pushed: Path) -> None:
    biggest = max(objects_of(pushed), key=lambda path: path.stat().st_size)
    flip_bit(biggest)

    assert clade("fsck", "--data", pushed).status == 0
    deep = clade("fsck", "--deep", "--data", pushed)
    told = clade("fsck", "--deep", "--data", pushed, "--json")

    assert deep.status == told.status == 1
    assert "model/ann/toy@main:model.safetensors" in deep.out
    assert told.facts["clean"] is False
    assert "model/ann/toy@main:model.safetensors" in told.facts["problems"][0]["places"]


def test_repair_mends_from_the_copy_that_is_left(clade: Clade, pushed: Path) -> None:
    before = set(objects_of(pushed))
    clade("jobs", "--wait", "--data", pushed)
    [frames] = [path for path in set(objects_of(pushed)) - before if path.stat().st_size > 10_000]
    flip_bit(frames)

    mended = clade("fsck", "--deep", "--repair", "--data", pushed, "--json")

    assert mended.status == 0
    assert mended.facts["repair"]["repaired"] > 0
    assert mended.facts["clean"] is True
    assert clade("fsck", "--deep", "--data", pushed).status == 0


def test_what_no_copy_is_left_of_stays_named(clade: Clade, pushed: Path) -> None:
    flip_bit(max(objects_of(pushed), key=lambda path: path.stat().st_size))

    left = clade("fsck", "--deep", "--repair", "--data", pushed, "--json")

    assert left.status == 1
    assert left.facts["repair"]["left"] == left.facts["problem_count"] == 1


def test_lost_object_is_named_without_reading_bytes(clade: Clade, pushed: Path) -> None:
    max(objects_of(pushed), key=lambda path: path.stat().st_size).unlink()

    done = clade("fsck", "--data", pushed)

    assert done.status == 1
    assert "model/ann/toy@main:model.safetensors" in done.out


def test_gc_now_deletes_what_was_replaced(clade: Clade, pushed: Path) -> None:
    clade("jobs", "--wait", "--data", pushed)
    before = sum(path.stat().st_size for path in objects_of(pushed))

    collected = clade("gc", "--now", "--data", pushed, "--json").facts

    after = sum(path.stat().st_size for path in objects_of(pushed))
    assert collected["stored_nbytes_deleted"] == before - after > 0
    assert clade("fsck", "--deep", "--data", pushed).status == 0
    assert clade("stats", "--data", pushed, "--json").facts["stored_bytes"] == after


def test_what_an_older_version_stored_is_coded_again_on_request(clade: Clade, pushed: Path) -> None:
    clade("jobs", "--wait", "--data", pushed)
    assert clade("reencode", "--data", pushed, "--json").facts["queued"] is False
    with contextlib.closing(open_hub(Settings(data=pushed))) as hub:
        hub.db.run(lambda session: session.execute(update(Encoding).values(encoder=0)))

    queued = clade("reencode", "--data", pushed, "--json").facts
    waited = clade("reencode", "--wait", "--data", pushed, "--json").facts

    assert queued["queued"] is True
    assert queued["contents"] == waited["contents"] > 0
    assert (waited["queued"], waited["contents_left"]) == (False, 0)
    assert clade("fsck", "--deep", "--data", pushed).status == 0
