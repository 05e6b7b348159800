"""Sketches and bit distances: what they estimate, and how they are made without the tensor."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec.elements.dtypes import DType, layout_of
from codec.elements.sampling import sample_runs
from tests.codec import naive, tensors

dtypes = st.sampled_from(list(DType.__members__))


@given(a=st.binary(max_size=400), seed=st.integers(0, 9), dtype=dtypes)
def test_bit_distance_counts_every_bit(a, seed, dtype):
    b = np.random.default_rng(seed).bytes(len(a))
    width = layout_of(DType[dtype]).width
    expected = naive.differing_bits(a, b) * width / len(a) if a else 0.0
    assert codec.bit_distance(a, b, dtype=dtype) == expected


def test_bit_distance_of_unaligned_buffers():
    base, target = (words.tobytes() for words in tensors.pair("BF16", 1001))
    shifted = memoryview(b"x" + base)[1:]
    expected = codec.bit_distance(base, target, dtype="BF16")
    assert codec.bit_distance(shifted, target, dtype="BF16") == expected > 0


def test_sampled_distance_is_near_the_whole_one():
    base, target = tensors.pair("BF16", 2_000_000)
    whole = codec.bit_distance(base, target, dtype="BF16")
    assert codec.bit_distance(base, target, dtype="BF16", sample=65536) == pytest.approx(
        whole, rel=0.02
    )
    distance = codec.sketch_distance(
        codec.sketch(base, dtype="BF16"), codec.sketch(target, dtype="BF16")
    )
    assert distance == pytest.approx(whole, rel=0.06)


def test_tensors_of_different_lengths_have_no_bit_distance():
    with pytest.raises(ValueError, match="no bit distance"):
        codec.bit_distance(b"12", b"1234", dtype="BF16")


@given(count=st.integers(0, 100_000), runs=st.integers(2, 64), length=st.integers(1, 64))
def test_sampled_runs_are_disjoint_and_span_the_tensor(count, runs, length):
    found = sample_runs(count, runs, length)
    assert found == naive.sample_runs(count, runs, length)
    flat = [position for run in found for position in run]
    assert flat == sorted(flat)
    if count:
        assert (flat[0], flat[-1]) == (0, count)
        assert sum(stop - start for start, stop in found) == min(count, runs * length)


@given(data=st.data(), dtype=dtypes)
def test_a_sketch_from_ranged_reads_equals_that_of_the_tensor(data, dtype):
    nbytes = data.draw(st.integers(0, 60_000))
    tensor = np.random.default_rng(nbytes).bytes(nbytes)
    samples = [tensor[start:stop] for start, stop in codec.sketch_ranges(nbytes, dtype)]
    made = codec.sketch_from_samples(samples, nbytes=nbytes, dtype=dtype)
    assert made == codec.sketch(tensor, dtype=dtype)
    assert codec.sketch_distance(made, made) == 0.0


def test_samples_of_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        codec.sketch_from_samples([b"123"], nbytes=4, dtype="U8")


def test_nearest_base_is_found_by_sketch_alone():
    base, target = tensors.pair("BF16", 500_000)
    cousin = tensors.pair("BF16", 500_000, drift=2e-3)[1]
    stranger = tensors.pair("BF16", 500_000, seed=8)[0]
    mine = codec.sketch(target, dtype="BF16")
    near, far, none = (
        codec.sketch_distance(mine, codec.sketch(words, dtype="BF16"))
        for words in (base, cousin, stranger)
    )
    assert near < far < none


def test_sketches_of_other_shapes_are_infinitely_far():
    sketch = codec.sketch(bytes(100), dtype="BF16")
    assert codec.sketch_distance(sketch, codec.sketch(bytes(102), dtype="BF16")) == math.inf
    assert codec.sketch_distance(sketch, codec.sketch(bytes(100), dtype="U16")) == math.inf


@pytest.mark.parametrize("dtype", tensors.FLOATS)
@pytest.mark.parametrize("drift", [3e-5, 1.2e-4, 1e-3])
def test_sketches_foretell_frame_lengths(dtype, drift):
    base, target = tensors.pair(dtype, 600_000, drift=drift)
    prediction = codec.predict_from_sketches(
        codec.sketch(target, dtype=dtype), codec.sketch(base, dtype=dtype), target.nbytes
    )
    for name in ("PLANE", "BITX"):
        real = len(codec.encode(target, dtype=dtype, base=base, codec=name))
        assert prediction.estimates[name] == pytest.approx(real, rel=0.07)


def test_a_sketch_that_cannot_be_compared_is_no_base():
    target = codec.sketch(tensors.pair("BF16", 9000)[0], dtype="BF16")
    other = codec.sketch(tensors.pair("BF16", 9001)[0], dtype="BF16")
    alone = codec.predict_from_sketches(target, None, 18000)
    assert codec.predict_from_sketches(target, other, 18000) == alone
    with pytest.raises(ValueError, match="18000"):
        codec.predict_from_sketches(target, None, 17999)


@given(junk=st.binary(max_size=60))
def test_junk_is_no_sketch(junk):
    sketch = codec.sketch(b"1234", dtype="U8")
    for altered in (junk, sketch[:-1], sketch + b"\0", b"\x02" + sketch[1:]):
        with pytest.raises(codec.CodecError):
            codec.sketch_distance(altered, sketch)
