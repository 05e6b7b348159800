"""Looks at planes against what plain Python finds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.plane import kernels, survey
from tests.codec.plane import naive
from tests.codec.plane.test_kernels import plane_of, planes

longer = st.builds(
    plane_of,
    seed=st.integers(0, 999),
    length=st.integers(64 * survey.STRIDE - 300, 64 * survey.STRIDE + 5000),
    symbols=st.sampled_from([2, 24, 63, 64]),
    skew=st.floats(0, 4),
)


def counted(plane: np.ndarray) -> np.ndarray:
    counts = np.empty(256, np.uint32)
    kernels.count(plane, counts)
    return counts


def weighed(plane: np.ndarray) -> np.ndarray:
    counts = np.full(256, 7, np.uint32)
    survey.weigh(plane, counts)
    return counts


@given(plane=planes)
def test_short_planes_are_counted_exactly(plane):
    assert weighed(plane).tolist() == counted(plane).tolist()


@given(plane=longer, base=st.sampled_from([0, 64, 128, 192]))
def test_exponents_are_weighed_by_a_quarter_and_none_is_missed(plane, base):
    plane = (plane & 63) | np.uint8(base)
    parts = plane.size // survey.STRIDE
    quarter = plane[: parts * survey.STRIDE].reshape(parts, -1)[:, : survey.STRIDE // 4]
    expected = 4 * np.bincount(quarter.reshape(-1), minlength=256)
    if parts < 64:
        expected = counted(plane)
    assert weighed(plane).tolist() == np.maximum(expected, counted(plane) > 0).tolist()


@given(plane=longer)
def test_bytes_beyond_a_window_are_counted_exactly(plane):
    plane = np.append(plane & 63, np.uint8(64)).astype(np.uint8)
    assert weighed(plane).tolist() == counted(plane).tolist()


@given(plane=planes, scale=st.floats(1, 100))
def test_a_stream_costs_its_code_and_its_states(plane, scale):
    counts = counted(plane).tolist()
    shares = naive.apportion(counts)
    bits = sum(n * math.log2(4096 / share) for n, share in zip(counts, shares, strict=True) if n)
    used = sum(n > 0 for n in counts)
    expected = scale * bits / 8 + 1.25 * used + 0.8 * 512
    assert survey.stream_nbytes(counted(plane), scale) == pytest.approx(expected)


@given(plane=planes)
def test_an_ideal_code_takes_the_entropy(plane):
    counts = counted(plane).tolist()
    bits = sum(n * math.log2(plane.size / n) for n in counts if n)
    assert survey.code_nbytes(counted(plane)) == pytest.approx(bits / 8)


@given(plane=planes)
def test_restlessness_is_measured_by_chance(plane):
    counts = counted(plane)
    changes = np.count_nonzero(plane[1:] != plane[:-1])
    chance = (plane.size - 1) * (1 - float(((counts / plane.size) ** 2).sum()))
    assert survey.restlessness(plane, counts) == pytest.approx(changes / chance)


def test_a_plane_of_one_byte_is_at_rest():
    assert survey.restlessness(np.zeros(9, np.uint8), counted(np.zeros(9, np.uint8))) == 0
