"""Bits that differ, in all and group by group, and the groups that stand for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.choice import distance_kernels
from codec.choice.distance import alike_groups
from tests.codec import naive, tensors


@given(data=st.binary(max_size=2000), parts=st.integers(1, 5), seed=st.integers(0, 9))
@settings(deadline=None)
def test_bits_of_parts_equal_their_twin(data, parts, seed):
    words = len(data) // 8 // parts * parts
    a = np.frombuffer(data[: 8 * words], np.uint64)
    b = np.frombuffer(np.random.default_rng(seed).bytes(8 * words), np.uint64)
    counts = np.empty(parts, np.uint32)
    distance_kernels.differing_bits_of(a, b, counts)
    expected = [
        naive.differing_bits(x.tobytes(), y.tobytes())
        for x, y in zip(np.split(a, parts), np.split(b, parts), strict=True)
    ]
    assert counts.tolist() == expected


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_groups_that_moved_are_chosen_as_often_as_there_are_such(dtype):
    base, target = tensors.pair(dtype, 256 * 1000)
    still = np.random.default_rng(1).random(1000) < 0.7
    target.reshape(1000, 256)[still] = base.reshape(1000, 256)[still]
    width = base.itemsize
    raw = [part.view(np.uint8) for part in (target, base)]
    cut = 256 * width * 400
    pairs = [(raw[0][:cut], raw[1][:cut]), (raw[0][cut:], raw[1][cut:])]
    alike = alike_groups(pairs, width, 100)
    groups = alike.all
    assert len(groups) == len(alike.moved) == 100
    assert not any(still[start // 256] for start, _ in alike.moved)
    assert alike.moved_share == pytest.approx(1 - still.mean())
    assert all(start % 256 == 0 and stop == start + 256 for start, stop in groups)
    chosen = sum(still[start // 256] for start, _ in groups)
    assert abs(chosen - 100 * still.mean()) <= 1


def test_more_groups_than_there_are_is_all_of_them():
    base, target = tensors.pair("BF16", 256 * 3 + 100)
    pair = (target.view(np.uint8), base.view(np.uint8))
    assert alike_groups([pair], 2, 10).all == [(0, 256), (256, 512), (512, 768)]


def test_equal_tensors_have_no_groups_that_moved():
    base, _ = tensors.pair("BF16", 256 * 3)
    alike = alike_groups([(base.view(np.uint8), base.view(np.uint8))], 2, 10)
    assert (alike.moved, alike.moved_share) == ([], 0.0)


@given(a=st.binary(min_size=64, max_size=64), b=st.binary(min_size=64, max_size=64))
def test_bit_count_equals_its_twin(a, b):
    count = distance_kernels.differing_bits(
        np.frombuffer(a, np.uint64), np.frombuffer(b, np.uint64)
    )
    assert count == naive.differing_bits(a, b)
