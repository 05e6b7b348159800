"""Factors to bytes and back, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import CorruptFrame
from codec.lowrank.factors import Factors, Shape
from tests.codec import tensors


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    rank=st.integers(1, 6),
    exponent=st.integers(-126, 96),
    seed=st.integers(0, 1 << 32),
)
def test_any_factors_come_back(rows, columns, rank, exponent, seed):
    left, right = tensors.narrow_matrices(rows, columns, rank, seed=seed)
    made = Factors.of(left, right, exponent)
    if made.shape.numbers > rows * columns:
        with pytest.raises(CorruptFrame):
            Factors.parse(np.frombuffer(made.stored, np.uint8), rows * columns)
        return
    prefix = np.frombuffer(made.stored + b"more", np.uint8)
    read = Factors.parse(prefix, rows * columns)
    assert (read.shape, read.exponent, read.stored) == (made.shape, exponent, made.stored)
    for got, put in zip(read.matrices, (left, right), strict=True):
        assert np.array_equal(got, put)
        assert got.dtype == np.int16


def test_numbers_of_little_spread_take_little():
    rng = np.random.default_rng(1)
    left = np.rint(rng.standard_normal((1000, 8)) * 20).astype(np.int16)
    right = np.rint(rng.standard_normal((8, 1000)) * 20).astype(np.int16)
    assert len(Factors.of(left, right, 0).stored) < 0.45 * 32_000


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 6), (4, 0), (4, 9), (8, 0), (8, 129), (8, 3), (10, 97), (12, 1 << 20)],
    ids=["rows", "no columns", "columns", "rank 0", "rank", "larger", "exponent", "length"],
)
def test_what_does_not_fit_the_content_is_refused(offset, value):
    stored = bytearray(tensors.factors(5, 7, 2, -30).stored)
    width = 2 if offset in (8, 10) else 4
    stored[offset : offset + width] = value.to_bytes(width, "little")
    with pytest.raises(CorruptFrame):
        Factors.parse(np.frombuffer(stored, np.uint8), 35)


def test_every_truncation_is_refused():
    stored = np.frombuffer(tensors.factors(5, 7, 2, -30).stored, np.uint8)
    for end in range(stored.size):
        with pytest.raises(CorruptFrame):
            Factors.parse(stored[:end], 35)


def test_damaged_numbers_are_refused_when_they_are_read():
    stored = bytearray(tensors.factors(5, 7, 2, -30).stored)
    stored[16] = 9
    with pytest.raises(CorruptFrame):
        _ = Factors.parse(np.frombuffer(stored, np.uint8), 35).matrices


def test_factors_of_a_vast_vocabulary_are_beyond_the_format_at_some_rank():
    assert Shape(262_144, 8192, 64).is_bounded(262_144 * 8192)
    assert not Shape(262_144, 8192, 128).is_bounded(262_144 * 8192)
    assert not Shape(64, 64, 33).is_bounded(64 * 64)
