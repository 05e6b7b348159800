"""Frames go into few objects, durable and read back, and nothing is left of a failure."""

import random
from pathlib import Path

import pytest

from app.contents import objects, packs
from app.contents.packs import Pack, PackedEncoding, PackWriter
from app.contents.readback import OPINIONS
from app.db.tables import StoredObject
from app.digest import piece_checks
from app.errors import Unavailable
from app.hub import Hub
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.ingested import count, rows

RNG = random.Random(6)


@pytest.fixture(autouse=True)
def _small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_NBYTES", 3 << 20)
    monkeypatch.setattr(packs, "SPOOL_NBYTES", 1 << 20)


def frame_of(hub: Hub, packed: PackedEncoding) -> bytes:
    key = packed.pack.pending.key
    return hub.store.read(key, packed.start, packed.start + packed.nbytes)


def test_frames_share_objects_and_come_back(any_hub: Hub, tmp_path: Path):
    frames = [RNG.randbytes(nbytes) for nbytes in (10, 1 << 20, 700_000, 0, 2 << 20, 5 << 20, 99)]
    with PackWriter(any_hub) as writer:
        for i, frame in enumerate(frames):
            if i % 2:
                path = tmp_path / str(i)
                path.write_bytes(frame)
                writer.add(i, "ZSTD", None, path)
            else:
                writer.add(i, "BITX", 77, frame)
        packed = writer.close()
    by_content = {each.content_id: each for each in packed}
    assert by_content.keys() == set(range(len(frames)))
    for i, frame in enumerate(frames):
        assert frame_of(any_hub, by_content[i]) == frame
        assert by_content[i].checks == piece_checks(frame)
        assert by_content[i].codec == ("ZSTD" if i % 2 else "BITX")
        assert by_content[i].base_id == (None if i % 2 else 77)
    big = by_content[5]
    assert [each.content_id for each in packed if each.pack == big.pack] == [5]
    assert {row.state for row in rows(any_hub, StoredObject)} == {"pending"}
    assert {row.id for row in rows(any_hub, StoredObject)} == {each.object_id for each in packed}
    assert count(any_hub, StoredObject) == 3


def test_packs_can_be_published(hub: Hub):
    with PackWriter(hub) as writer:
        writer.add(1, "ZSTD", None, b"frame")
        (packed,) = writer.close()
    hub.db.run(lambda session: objects.publish(session, packed.pack.pending, packed.pack.nbytes))
    (row,) = rows(hub, StoredObject)
    assert (row.state, row.nbytes, row.purpose) == ("live", 5, "pack")


def test_nothing_added_is_nothing_stored(hub: Hub):
    with PackWriter(hub) as writer:
        assert writer.close() == []
    assert count(hub, StoredObject) == 0


def test_failure_gives_up_every_pack_but_published_ones(hub: Hub):
    def fail() -> None:
        with PackWriter(hub) as writer:
            writer.add(1, "ZSTD", None, bytes(4 << 20))
            writer.add(2, "ZSTD", None, bytes(4 << 20))
            first = writer.close()[0]
            hub.db.run(lambda s: objects.publish(s, first.pack.pending, first.pack.nbytes))
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert [row.state for row in rows(hub, StoredObject)] == ["live", "retired"]


@pytest.mark.parametrize("nbytes", [10, 4 << 20])
@pytest.mark.parametrize(
    ("operation", "fault"),
    [("read", Fault.WRONG_BYTES), ("read", Fault.BEFORE), ("put", Fault.BEFORE)],
)
def test_store_that_fails_is_noticed(hub: Hub, nbytes: int, operation: str, fault: Fault):
    hub.store = faulty = FaultyStore(hub.store)
    faulty.fail(operation, *[fault] * (OPINIONS if fault is Fault.WRONG_BYTES else 1))

    def write() -> list[PackedEncoding]:
        with PackWriter(hub) as writer:
            writer.add(1, "ZSTD", None, bytes(nbytes))
            return writer.close()

    with pytest.raises(Unavailable):
        write()
    assert {row.state for row in rows(hub, StoredObject)} == {"retired"}
    (packed,) = write()
    assert isinstance(packed.pack, Pack)
    assert frame_of(hub, packed) == bytes(nbytes)
