"""The bound of a delta's length is the entropy where that is known."""

import numpy as np
import pytest

from bench import bound


def words(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_a_mixture_finds_the_entropy_of_even_steps():
    chance = np.random.default_rng(0)
    base = words(1 + chance.random((64, 256)) / 2)
    target = base + chance.integers(0, 4, base.shape).astype(np.uint16)
    bits = 8 * bound.bound_nbytes(target, base) / base.size
    assert 2 <= bits < 2.15


def test_what_only_the_column_tells_is_found():
    chance = np.random.default_rng(1)
    base = words(1 + chance.random((128, 256)) / 2)
    sizes = np.where(np.arange(256) % 2, 1, 16)
    target = base + (chance.integers(-sizes, sizes + 1, base.shape)).astype(np.uint16)
    mixed, first = (bound.bound_nbytes(target, base, part) for part in (slice(None), slice(1)))
    assert mixed < 0.95 * first


@pytest.mark.parametrize("difference", [0, 1, -1, 2, 127, -128, 300, -65_000])
def test_decisions_tell_differences_apart(difference):
    nodes, bits = np.zeros(64, np.int64), np.zeros(64, np.int64)
    taken = bound._decide(difference, nodes, bits)
    length = int(bits[: abs(difference).bit_length() + 1].sum())
    assert length == abs(difference).bit_length()
    if difference:
        assert bits[length + 1] == (difference < 0)
        digits = "1" + "".join(map(str, bits[length + 2 : taken]))
        assert int(digits, 2) == abs(difference)
    assert nodes[:taken].max() < bound._LOWER + 512
