"""Operations on eight words of 16 bits, against NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from codec.machine import eights

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=8, max_size=8).map(
    lambda values: np.array(values, np.uint16)
)
MASKS = st.integers(0, 255)


@njit
def _compute(a, b, out):
    x, y = eights.load(a, 0), eights.load(b, 0)
    results = (
        eights.add(x, y),
        eights.subtract(x, y),
        eights.multiply(x, y),
        eights.multiply_high(x, y),
        eights.add_capped(x, y),
        eights.subtract_floored(x, y),
        eights.smaller(x, y),
        eights.below(x, y),
        eights.equal(x, y),
        eights.choose(eights.splat(np.uint16(0x0FF0)), x, y),
        eights.swap_bytes(x),
        eights.repeat_top(x),
        eights.shift_down(x, eights.splat(np.uint16(5))),
        eights.shift_up(x, eights.splat(np.uint16(5))),
    )
    i = 0
    for result in results:
        eights.store(out, i, result)
        i += 8
    return eights.is_any(eights.both(x, y))


@njit
def _pick(table, places, out):
    first, second, third = eights.pick(table, 0, eights.load(places, 0))
    eights.store(out, 0, first)
    eights.store(out, 8, second)
    eights.store(out, 16, third)


@njit
def _spread(data, at, chosen, out):
    mask = eights.load(chosen, 0)
    words, words_nbytes = eights.spread(data, at, mask)
    bytes_, bytes_nbytes = eights.spread_bytes(data, at, mask)
    eights.store(out, 0, words)
    eights.store(out, 8, bytes_)
    return words_nbytes, bytes_nbytes


@given(WORDS, WORDS)
def test_lanes_are_computed_as_numpy_does(a: np.ndarray, b: np.ndarray) -> None:
    out = np.zeros((14, 8), np.uint16)
    has_any = _compute(a, b, out.reshape(-1))

    wide_a, wide_b = a.astype(np.int64), b.astype(np.int64)
    expected = [
        wide_a + wide_b,
        wide_a - wide_b,
        wide_a * wide_b,
        wide_a * wide_b >> 16,
        np.minimum(wide_a + wide_b, 0xFFFF),
        np.maximum(wide_a - wide_b, 0),
        np.minimum(wide_a, wide_b),
        -(wide_a < wide_b).astype(np.int64),
        -(wide_a == wide_b).astype(np.int64),
        (wide_a & 0x0FF0) | (wide_b & 0xF00F),
        wide_a << 8 | wide_a >> 8,
        -(wide_a >> 15),
        wide_a >> 5,
        wide_a << 5,
    ]
    for name, (ours, theirs) in enumerate(zip(out, expected, strict=True)):
        assert np.array_equal(ours, (theirs & 0xFFFF).astype(np.uint16)), name
    assert has_any == bool(np.any(a & b))


@given(WORDS.map(lambda values: values % 64))
def test_parts_of_entries_are_picked(places: np.ndarray) -> None:
    table = np.arange(256, dtype=np.uint16) * 251
    out = np.zeros((3, 8), np.uint16)
    _pick(table, places, out.reshape(-1))

    assert np.array_equal(out, table.reshape(64, 4)[places, :3].T)


@given(MASKS, st.integers(0, 5), st.binary(min_size=24, max_size=24))
def test_words_and_bytes_go_to_the_chosen_lanes(mask: int, at: int, data: bytes) -> None:
    lanes = [lane for lane in range(8) if mask >> lane & 1]
    chosen = np.zeros(8, np.uint16)
    chosen[lanes] = 0xFFFF
    out = np.zeros((2, 8), np.uint16)
    taken = _spread(np.frombuffer(data, np.uint8), at, chosen, out.reshape(-1))

    assert taken == (2 * len(lanes), len(lanes))
    assert np.array_equal(out[0, lanes], np.frombuffer(data, "<u2", len(lanes), at))
    assert np.array_equal(out[1, lanes], np.frombuffer(data, np.uint8, len(lanes), at))
