"""Words to planes and back: every compiled kernel against its plain twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.plane import split_kernels
from tests.codec import naive, tensors


def words_of(data: bytes, width: int) -> np.ndarray:
    return np.frombuffer(data[: len(data) - len(data) % width], f"<u{width}")


@given(data=st.binary(max_size=700), width=st.sampled_from([2, 4, 8]))
def test_split_and_merge_equal_their_twins(data, width):
    words = words_of(data, width)
    planes = np.empty(words.nbytes, np.uint8)
    split_kernels.SPLIT[width](words, planes)
    assert planes.tobytes() == b"".join(p.tobytes() for p in naive.split(words))
    back = np.empty_like(words)
    split_kernels.MERGE[width](*planes.reshape(width, -1), back)
    assert back.tobytes() == words.tobytes()


@given(data=st.binary(max_size=700), width=st.sampled_from([2, 4]))
def test_field_kernels_equal_their_twins(data, width):
    words = words_of(data, width)
    planes = np.empty(words.nbytes, np.uint8)
    split_kernels.SPLIT_FIELDS[width](words, planes)
    assert planes.tobytes() == b"".join(p.tobytes() for p in naive.split(words, fields=True))
    back = np.empty_like(words)
    split_kernels.MERGE_FIELDS[width](*planes.reshape(width, -1), back)
    assert back.tobytes() == words.tobytes()
    assert naive.merge(list(planes.reshape(width, -1)), fields=True).tobytes() == words.tobytes()


@given(data=st.binary(max_size=700), seed=st.integers(0, 99), width=st.sampled_from([2, 4]))
def test_xor_kernels_equal_their_twins(data, seed, width):
    words = words_of(data, width)
    base = words_of(np.random.default_rng(seed).bytes(words.nbytes), width)
    planes = np.empty(words.nbytes, np.uint8)
    split_kernels.SPLIT_XOR[width](words, base, planes)
    assert planes.tobytes() == b"".join(p.tobytes() for p in naive.split(words, base=base))
    back = np.empty_like(words)
    split_kernels.MERGE_XOR[width](*planes.reshape(width, -1), base, back)
    assert back.tobytes() == words.tobytes()


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_first_field_plane_is_the_exponent(dtype):
    words = tensors.awkward(dtype)
    planes = np.empty(words.nbytes, np.uint8)
    split_kernels.SPLIT_FIELDS[words.itemsize](words, planes)
    bits = 8 * words.itemsize
    assert planes[: words.size].tolist() == [(int(word) >> (bits - 9)) & 0xFF for word in words]
