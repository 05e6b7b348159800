"""Content-defined boundaries: the same wherever the stream is cut for feeding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import ChunkBoundaries
from codec.cdc import gear_table
from tests.codec import naive

SIZES = (64, 256, 1024)


def cut(data: bytes, pieces, sizes=SIZES) -> list[int]:
    chunker, found, start = ChunkBoundaries(*sizes), [], 0
    for piece in pieces:
        found += chunker.feed(data[start : start + piece])
        start += piece
    found += chunker.feed(data[start:])
    end = chunker.finish()
    return found if end is None else [*found, end]


@given(
    seed=st.integers(0, 50),
    length=st.integers(0, 9000),
    pieces=st.lists(st.integers(0, 700), max_size=30),
    alphabet=st.sampled_from([1, 2, 256]),
)
def test_boundaries_equal_the_twin_however_the_stream_is_fed(seed, length, pieces, alphabet):
    data = np.random.default_rng(seed).integers(0, alphabet, length, dtype=np.uint8).tobytes()
    assert cut(data, pieces) == naive.boundaries(data, *SIZES, gear_table())


def test_chunks_keep_within_their_limits_and_near_the_average():
    data = np.random.default_rng(0).bytes(8 << 20)
    sizes = (8 << 10, 32 << 10, 128 << 10)
    lengths = np.diff([0, *cut(data, [], sizes)])
    assert lengths[:-1].min() >= sizes[0]
    assert lengths.max() <= sizes[2]
    assert 0.7 * sizes[1] < lengths.mean() < 1.4 * sizes[1]


def test_an_insertion_moves_only_the_boundaries_around_it():
    data = np.random.default_rng(1).bytes(1 << 18)
    altered = data[:100_000] + b"inserted" + data[100_000:]
    before = set(cut(data, []))
    after = {end - 8 if end > 100_008 else end for end in cut(altered, [])}
    assert len(before - after) < 12
    assert len(before) > 500


def test_zeros_are_cut_at_the_largest_length():
    assert cut(bytes(2500), []) == naive.boundaries(bytes(2500), *SIZES, gear_table())


def test_an_empty_stream_has_no_chunk():
    assert cut(b"", [0, 0]) == []


def test_the_gear_table_never_changes():
    assert [hex(word) for word in gear_table()[[0, 1, 255]].tolist()] == [
        "0xbc4658c428f1abe3",
        "0x112538bf38edb431",
        "0xad3f093ab9728b50",
    ]


@pytest.mark.parametrize("sizes", [(0, 256, 512), (300, 256, 512), (64, 300, 512), (1, 2, 4)])
def test_impossible_lengths_are_refused(sizes):
    with pytest.raises(ValueError):
        ChunkBoundaries(*sizes)
