"""Extents: what is read of them, for whom, and that any range is a slice."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.contents.refs import RAW
from app.db.tables import StoredObject
from app.digest import PIECE_BYTES
from app.hub import Hub
from app.restore.stored import WINDOW_NBYTES, ExtentReader
from app.store.wrapper import StoreWrapper
from tests.app.restore.test_reader import weights
from tests.fixtures.contents import ContentFactory

SIZES = [30, 3 * PIECE_BYTES + 17, *[PIECE_BYTES // 3] * 7, 5 * PIECE_BYTES, 1]


class Counted(StoreWrapper):
    """Counts the bytes that are read."""

    nbytes = 0

    def read(self, key: str, start: int, stop: int) -> bytes:
        self.nbytes += stop - start
        return self.inner.read(key, start, stop)


@pytest.fixture
def extent(contents: ContentFactory) -> tuple[int, bytes]:
    """An object of encodings side by side, and its bytes."""
    ids = contents.contents([(weights(nbytes, nbytes), RAW, None) for nbytes in SIZES])
    with contents.hub.db.read() as session:
        object_id = session.query(StoredObject.id).scalar()
    return object_id, b"".join(contents.bytes_of[id_] for id_ in ids)


@pytest.fixture
def counted(hub: Hub) -> Iterator[Counted]:
    hub.store, inner = Counted(hub.store), hub.store
    yield hub.store
    hub.store = inner


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_any_range_is_a_slice(hub: Hub, extent: tuple[int, bytes], data: st.DataObject):
    object_id, stored = extent
    start = data.draw(st.integers(0, len(stored) - 1))
    stop = data.draw(st.integers(start + 1, len(stored)))
    parts = list(ExtentReader(hub, object_id, 0, len(stored)).stream(start, stop))
    assert b"".join(parts) == stored[start:stop]
    assert max(map(len, parts)) <= WINDOW_NBYTES


def test_who_takes_nothing_costs_a_piece(
    hub: Hub, extent: tuple[int, bytes], counted: Counted
) -> None:
    object_id, stored = extent
    stream = ExtentReader(hub, object_id, 30, len(stored)).stream(0, len(stored) - 30)
    assert len(next(stream)) == PIECE_BYTES
    assert counted.nbytes == PIECE_BYTES
    assert len(next(stream)) > PIECE_BYTES


def test_a_range_reads_what_it_touches(
    hub: Hub, extent: tuple[int, bytes], counted: Counted
) -> None:
    object_id, stored = extent
    stop = len(stored)
    [last] = ExtentReader(hub, object_id, 0, stop).stream(stop - 1, stop)
    assert (bytes(last), counted.nbytes) == (stored[-1:], 1)
