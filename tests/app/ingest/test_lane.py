"""Lanes keep order, pass errors on and never block their producer; buffers keep the bytes."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ingest.lane import BUFFER_NBYTES, DEPTH, SLICE_NBYTES, Lane, regroup


def test_buffers_are_consumed_in_order_before_finish_returns():
    seen: list[bytes] = []
    with Lane("test", lambda buffer: seen.append(bytes(buffer))) as lane:
        for i in range(100):
            lane.push(memoryview(bytes([i])))
        lane.finish()
    assert seen == [bytes([i]) for i in range(100)]


def test_error_of_the_consumer_reaches_the_producer_which_never_blocks():
    def consume(_: memoryview) -> None:
        raise KeyError("broken")

    def push_many(lane: Lane) -> None:
        for _ in range(DEPTH * 100):
            lane.push(memoryview(b"x"))

    with Lane("test", consume) as lane:
        with pytest.raises(KeyError, match="broken"):
            push_many(lane)
        with pytest.raises(KeyError, match="broken"):
            lane.finish()


def test_leaving_early_stops_the_thread_without_consuming_the_rest():
    busy, go_on, seen = threading.Event(), threading.Event(), []

    def consume(buffer: memoryview) -> None:
        seen.append(bytes(buffer))
        busy.set()
        go_on.wait(60)

    def leave() -> None:
        with Lane("leaver", consume) as lane:
            for i in range(DEPTH):
                lane.push(memoryview(bytes([i])))
            busy.wait(60)
            threading.Timer(0, go_on.set).start()

    leave()
    assert seen[0] == b"\0"
    assert not [thread for thread in threading.enumerate() if thread.name == "leaver"]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * BUFFER_NBYTES // 2), max_size=12), st.booleans())
def test_regrouped_chunks_hold_the_same_bytes_in_fewer_buffers(lengths: list[int], long: bool):
    chunks = [bytes([i % 256]) * length for i, length in enumerate(lengths)]
    chunks += [bytes(2 * SLICE_NBYTES + 5)] * long
    buffers = list(regroup(chunks))
    assert b"".join(buffers) == b"".join(chunks)
    assert all(0 < len(buffer) <= SLICE_NBYTES for buffer in buffers)


def test_network_sized_chunks_are_joined():
    buffers = list(regroup(bytes(65_536) for _ in range(64)))
    assert [len(buffer) for buffer in buffers] == [BUFFER_NBYTES] * 4
