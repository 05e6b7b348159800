"""Predicted lengths against the lengths of real frames."""

import numpy as np
import pytest

import codec
from tests.codec import tensors

DRIFTS = (3e-5, 1.2e-4, 1e-3)


def within(estimate: int, real: int, share: float) -> bool:
    return abs(estimate - real) <= share * real


@pytest.mark.parametrize("dtype", tensors.FLOATS)
@pytest.mark.parametrize("drift", DRIFTS)
def test_prediction_of_a_pair_is_within_two_per_cent(dtype, drift):
    base, target = tensors.pair(dtype, 600_000, drift=drift)
    prediction = codec.predict(target, dtype=dtype, base=base)
    for name, estimate in prediction.estimates.items():
        real = len(codec.encode(target, dtype=dtype, base=base, codec=name))
        assert within(estimate, real, 0.02), name
    assert prediction.nbytes == min(prediction.estimates.values())
    assert codec.inspect(codec.encode(target, dtype=dtype, base=base)).codec == prediction.codec


@pytest.mark.parametrize("dtype", tensors.FLOATS)
def test_prediction_without_base_is_within_two_per_cent(dtype):
    target = tensors.pair(dtype, 600_000)[0]
    prediction = codec.predict(target, dtype=dtype)
    assert prediction.codec == "PLANE"
    assert within(prediction.nbytes, len(codec.encode(target, dtype=dtype)), 0.02)


def test_prediction_of_rows_of_many_scales_is_within_two_per_cent():
    rng = np.random.default_rng(0)
    scales = np.exp(0.25 * rng.standard_normal((2000, 1)))
    base = rng.standard_normal((2000, 512)) * 0.02 * scales
    target = base + rng.standard_normal((2000, 512)) * 1e-4
    pair = [tensors.floats(values, "BF16") for values in (base, target)]
    prediction = codec.predict(pair[1], dtype="BF16", base=pair[0])
    assert within(prediction.nbytes, len(codec.encode(pair[1], dtype="BF16", base=pair[0])), 0.02)


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_small_tensors_are_predicted_from_all_their_elements(count):
    base, target = tensors.pair("BF16", count)
    prediction = codec.predict(target, dtype="BF16", base=base)
    real = len(codec.encode(target, dtype="BF16", base=base, level="best"))
    assert abs(prediction.nbytes - real) <= 8


def test_rows_beyond_the_base_are_predicted_alone():
    base, target = tensors.pair("BF16", 1_000_000)
    extended = np.concatenate([target, tensors.pair("BF16", 700_000, seed=5)[0]])
    prediction = codec.predict(extended, dtype="BF16", base=base)
    assert prediction.codec == "BITX"
    real = len(codec.encode(extended, dtype="BF16", base=base))
    assert within(prediction.nbytes, real, 0.04)


def test_a_smaller_sample_is_honoured():
    target = tensors.pair("BF16", 400_000)[0]
    real = len(codec.encode(target, dtype="BF16"))
    assert within(codec.predict(target, dtype="BF16", sample=4096).nbytes, real, 0.05)
