"""Chunks of an opaque stream."""

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.formats.chunking import MAX_NBYTES, MIN_NBYTES, Chunker

DATA = random.Random(3).randbytes(8 << 20)


def cuts(data: bytes, step: int) -> list[int]:
    chunker = Chunker()
    view = memoryview(data)
    return [
        stop
        for start in range(0, len(data), step)
        for stop in chunker.feed(view[start : start + step])
    ]


def test_chunks_are_bounded():
    stops = cuts(DATA, len(DATA))
    assert len(stops) >= len(DATA) // MAX_NBYTES
    assert all(
        MIN_NBYTES <= stop - start <= MAX_NBYTES
        for start, stop in zip([0, *stops], stops, strict=False)
    )


@settings(deadline=None)
@given(st.integers(100_000, 9 << 20))
def test_boundaries_do_not_depend_on_how_the_stream_is_fed(step: int):
    assert cuts(DATA, step) == cuts(DATA, len(DATA))


def test_an_insertion_leaves_most_chunks_as_they_were():
    def chunks(data: bytes) -> set[bytes]:
        stops = [0, *cuts(data, len(data)), len(data)]
        return {data[a:b] for a, b in itertools.pairwise(stops)}

    before, after = chunks(DATA), chunks(DATA[: 1 << 20] + b"inserted" + DATA[1 << 20 :])
    assert len(before & after) >= len(before) - 2
