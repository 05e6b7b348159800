"""Tensors that lie in one xorb as a whole stay there; what a xorb's end cuts is stored anew."""

import random

import pytest
from sqlalchemy import select

from app.contents import objects
from app.db.tables import Content, Encoding, StoredObject, Xorb
from app.digest import content_id_of
from app.errors import Damaged
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.xet.terms import drop_stale_xorbs
from tests.app.xet.test_register import Uploader, rows, stored_files
from tests.fixtures.files import safetensors_of
from tests.fixtures.xorbs import build_xorb, content_of, file_block

RNG = random.Random(9)
TENSORS = {f"t{number}": ("U8", [70_000], RNG.randbytes(70_000)) for number in range(6)}
FILE = safetensors_of(TENSORS)


@pytest.fixture
def alice(hub):
    return Uploader(hub, "alice")


def cut(*stops):
    """The file as xorbs that end at ``stops``, and the runs that join them."""
    starts = (0, *stops)
    built = [
        build_xorb(FILE[start:stop], chunk_nbytes=30_000)
        for start, stop in zip(starts, (*stops, len(FILE)), strict=True)
    ]
    return built, [(each, 0, len(each.chunks)) for each in built]


def purposes(hub):
    """By tensor, what the object is for that it lies in."""
    with hub.db.read() as session:
        found = {
            row.digest: row.purpose
            for row in session.execute(
                select(Content.digest, StoredObject.purpose)
                .join(Encoding, Encoding.content_id == Content.id)
                .join(StoredObject, StoredObject.id == Encoding.object_id)
            )
        }
    return {name: found[content_id_of(raw)] for name, (_, _, raw) in TENSORS.items()}


def test_only_the_tensor_that_a_xorb_cuts_is_stored_anew(any_hub):
    alice = Uploader(any_hub, "alice")
    start = len(FILE) - 6 * 70_000
    built, runs = cut(start + 2 * 70_000 + 10_000)
    alice.send(*built)
    alice.register(file_block(runs))
    assert purposes(any_hub) == dict.fromkeys(TENSORS, "xorb") | {"t2": "upload"}
    assert ("upload", 70_000) in rows(any_hub, StoredObject.purpose, StoredObject.nbytes)
    assert stored_files(any_hub) == [FILE]
    collect(any_hub, now=True)
    assert stored_files(any_hub) == [FILE]
    assert fsck(any_hub, deep=True).clean


def test_file_in_one_xorb_is_not_written_again(hub, alice):
    built, runs = cut()
    alice.send(*built)
    alice.register(file_block(runs))
    assert set(purposes(hub).values()) == {"xorb"}
    assert ("upload", "live") not in rows(hub, StoredObject.purpose, StoredObject.state)
    assert rows(hub, Xorb.object_id) == [(None,)], "the file holds all chunks"


def test_bytes_outlive_the_xorb_that_brought_them(hub, alice):
    built, runs = cut(200_000)
    alice.send(*built)
    alice.register(file_block(runs))
    hub.clock.advance(hub.settings.timers.xorb_s + 1)
    assert drop_stale_xorbs(hub) == 2
    assert stored_files(hub) == [FILE]


def test_joined_runs_of_one_xorb_count_as_one_piece(hub, alice):
    built, _ = cut()
    alice.send(*built)
    alice.register(file_block([(built[0], 0, 3), (built[0], 3, len(built[0].chunks))]))
    assert set(purposes(hub).values()) == {"xorb"}


def test_chunks_that_only_files_hold_are_read_from_there(hub, alice):
    built, runs = cut(200_000)
    alice.send(*built)
    alice.register(file_block(runs))
    longer = safetensors_of(TENSORS | {"t6": ("U8", [50_000], RNG.randbytes(50_000))})
    head = build_xorb(longer[: len(longer) - 50_000 - 6 * 70_000], chunk_nbytes=30_000)
    tail = build_xorb(longer[-50_000:], chunk_nbytes=30_000)
    start = len(FILE) - 6 * 70_000
    body = build_xorb(FILE[start:], chunk_nbytes=30_000)
    alice.send(head, body, tail)
    again = [(each, 0, len(each.chunks)) for each in (head, body, tail)]
    alice.register(file_block(again))
    alice.register(file_block([*again, (tail, 0, 1)]))
    assert {content_of(again), FILE} < set(stored_files(hub))
    assert fsck(hub, deep=True).clean


def test_xorb_retired_during_the_upload_ends_it_and_the_next_try_succeeds(hub, alice):
    built, runs = cut()
    alice.send(*built)

    def retire(done, total):
        def work(session):
            for row in session.scalars(select(StoredObject).where(StoredObject.state == "live")):
                row.state, row.not_before = "retired", hub.clock.now()

        if done == total:
            hub.db.run(work)

    with pytest.raises(objects.ObjectLost) as lost:
        alice.register(file_block(runs), progress=retire)
    assert lost.value.transient
    assert rows(hub, Encoding.id) == []


@pytest.mark.parametrize("with_sha256", [True, False])
def test_damage_in_a_xorb_is_found_before_anything_points_to_it(hub, alice, with_sha256):
    built, runs = cut()
    alice.send(*built)
    ((key,),) = rows(hub, StoredObject.key)
    damaged = bytearray(hub.store.read(key, 0, len(FILE)))
    damaged[300_000] ^= 1
    hub.store.delete(key)
    hub.store.put(key, [bytes(damaged)])
    with pytest.raises(Damaged):
        alice.register(file_block(runs, with_sha256=with_sha256))
    assert rows(hub, Encoding.id) == []
    assert alice.send(*built) == [True]
    alice.register(file_block(runs))
    assert stored_files(hub) == [FILE]
