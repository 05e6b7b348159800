"""Casts between float types: every kernel against its twin, and contents that are too wide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec.elements import casts
from codec.elements.dtypes import DType, layout_of
from tests.codec import tensors
from tests.codec.elements import naive as naive_casts

CAST = ("BF16", "F16", "F32")
PAIRS = [(a, b) for a in CAST for b in CAST if a != b]


def words_of(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Words of every kind, those around the edges of all types among them."""
    width = layout_of(DType[dtype]).width
    mantissa = naive_casts.BITS[dtype][1]
    edges = st.builds(
        lambda exponent, low, sign: (sign << (8 * width - 1)) | (exponent << mantissa) | low,
        st.integers(0, (1 << naive_casts.BITS[dtype][0]) - 1),
        st.sampled_from([0, 1, (1 << mantissa) - 1, 1 << (mantissa - 1), 0x1000 % (1 << mantissa)]),
        st.integers(0, 1),
    )
    word = st.integers(0, (1 << 8 * width) - 1) | edges
    return st.lists(word, max_size=80).map(lambda words: np.array(words, f"<u{width}"))


def fast(words: np.ndarray, source: str, target: str) -> np.ndarray:
    data = casts.cast(words.view(np.uint8), DType[source], DType[target])
    return data.view(f"<u{layout_of(DType[target]).width}")


@pytest.mark.parametrize(("source", "target"), PAIRS)
@given(data=st.data())
def test_every_cast_equals_its_twin(source, target, data):
    words = data.draw(words_of(source))
    expected = naive_casts.cast(words, source, target)
    assert np.array_equal(fast(words, source, target), expected)


@pytest.mark.parametrize("source", ["BF16", "F16"])
@pytest.mark.parametrize("target", CAST)
def test_all_words_of_16_bits_are_cast_as_their_twins(source, target):
    if source == target:
        return
    words = np.arange(1 << 16, dtype=np.uint16)
    assert np.array_equal(fast(words, source, target), naive_casts.cast(words, source, target))


def test_numbers_are_cast_as_numpy_does():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    words[::2] = (words[::2] & 0x807FFFFF) | (rng.integers(95, 150, 1 << 19, np.uint32) << 23)
    numbers = words[~np.isnan(words.view(np.float32))]
    with np.errstate(over="ignore"):
        expected = numbers.view(np.float32).astype(np.float16).view(np.uint16)
    assert np.array_equal(fast(numbers, "F32", "F16"), expected)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("offset", [0, 1])
def test_bytes_may_lie_anywhere(source, target, offset):
    words = tensors.pair(source, 777)[0]
    width = layout_of(DType[target]).width
    shifted = np.frombuffer(bytes(offset) + words.tobytes() + b"x", np.uint8)[offset:]
    room = np.zeros(777 * width + 1, np.uint8)
    out = room[offset : offset + 777 * width]
    casts.cast(shifted, DType[source], DType[target], out)
    assert out.tobytes() == naive_casts.cast(words, source, target).tobytes()


@pytest.mark.parametrize("narrow", ["BF16", "F16"])
@given(data=st.data())
def test_words_that_were_cast_up_are_found_again(narrow, data):
    words = data.draw(words_of(narrow).filter(len))
    wide = naive_casts.cast(words, narrow, "F32")
    found = casts.narrow(wide.view(np.uint8), DType[narrow])
    back = naive_casts.cast(wide, "F32", narrow)
    if narrow == "F16" and not np.array_equal(back, words):  # NaNs that signal become quiet
        assert found is None
    else:
        assert found is not None
        assert found.tobytes() == words.tobytes()


@given(words=words_of("F32"), narrow=st.sampled_from(["BF16", "F16"]))
def test_what_is_called_narrow_comes_back(words, narrow):
    found = casts.narrow(words.view(np.uint8), DType[narrow])
    if found is not None:
        assert naive_casts.cast(found.view("<u2"), narrow, "F32").tobytes() == words.tobytes()


def test_one_word_decides_what_a_content_is():
    wide = naive_casts.cast(tensors.pair("BF16", 500_000)[0][:2000], "BF16", "F32")
    wide = np.tile(wide, 250)
    assert codec.narrow_dtype(wide, dtype="F32") == "BF16"
    assert codec.narrow_dtype(wide, dtype="U32") is None
    assert codec.narrow_dtype(wide.tobytes() + b"\0", dtype="F32") is None
    assert codec.narrow_dtype(b"", dtype="F32") is None
    wide[-1] |= 1 << 13
    assert codec.narrow_dtype(wide, dtype="F32") is None
    half = naive_casts.cast(tensors.pair("F16", 2000)[0], "F16", "F32")
    assert codec.narrow_dtype(half, dtype="F32") == "F16"


@given(data=st.binary(max_size=600))
def test_bytes_stand_in_words_of_16_bits_and_come_back(data):
    view = np.frombuffer(data, np.uint8)
    words = casts.spread(view, "test").view("<u2")
    expected = [(byte & 127) | (byte & 128) << 8 for byte in data]
    assert words.tolist() == expected
    out = np.empty(len(data), np.uint8)
    casts.close_up(words.view(np.uint8), out)
    assert out.tobytes() == data
