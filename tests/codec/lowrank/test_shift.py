"""The base after a product was added, bit for bit as the plain twin has it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.elements.dtypes import DType
from codec.elements.words import Words
from codec.lowrank.shift import moved_base, shifted
from tests.codec import tensors
from tests.codec.lowrank import naive

DTYPES = ("BF16", "F16", "F32")


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 70),
    rank=st.integers(1, 11),
    exponent=st.integers(-126, 96),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=60, deadline=None)
def test_any_words_move_as_in_the_plain_twin(dtype, rows, columns, rank, exponent, seed):
    rng = np.random.default_rng(seed)
    width = np.dtype("<u4" if dtype == "F32" else "<u2")
    first = int(rng.integers(0, rows * columns))
    words = np.frombuffer(rng.bytes((rows * columns - first) * width.itemsize), width)
    factors = tensors.factors(rows, columns, rank, exponent, seed=seed)
    moved = shifted(factors, DType[dtype], words.view(np.uint8), first)
    assert np.array_equal(moved.view(width), naive.shifted(factors, words, dtype, first))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_stays(dtype):
    words = np.concatenate([tensors.awkward(dtype), tensors.pair(dtype, 100)[0]])
    factors = tensors.factors(1, words.size, 3, -20, seed=1)
    moved = shifted(factors, DType[dtype], words.view(np.uint8), 0).view(words.dtype)
    mask = words.dtype.type(naive.EXPONENTS[dtype])
    still = (words & mask) == mask
    assert np.array_equal(moved[still], words[still])
    assert not np.array_equal(moved[~still], words[~still])


def test_a_part_moves_as_it_does_in_the_whole():
    base = tensors.pair("BF16", 50 * 33, seed=3)[0].view(np.uint8)
    factors = tensors.factors(50, 33, 6, -40, seed=4)
    words = Words.named("BF16", None, "BF16")
    whole = moved_base(words, factors, base, 0).copy()
    for start, stop in ((0, 66), (2, 4), (1000, 1700), (3298, 3300)):
        assert np.array_equal(
            moved_base(words, factors, base[start:stop], start), whole[start:stop]
        )


def test_without_factors_the_base_is_taken_as_it_is():
    base = np.frombuffer(b"abcdefg", np.uint8)
    assert shifted(None, DType.BF16, base, 0) is base
