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


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_prediction_where_few_rows_moved_far_is_within_two_per_cent(dtype):
    rng = np.random.default_rng(2)
    rows, length = 8000, 256
    base = rng.standard_normal((rows, length)) * 0.02
    drift = 3e-4 * np.exp(rng.standard_normal((rows, 1))) * (rng.random((rows, 1)) < 0.3)
    target = base + rng.standard_normal((rows, length)) * drift
    pair = [tensors.floats(values, dtype) for values in (base, target)]
    prediction = codec.predict(pair[1], dtype=dtype, base=pair[0])
    real = len(codec.encode(pair[1], dtype=dtype, base=pair[0]))
    assert within(prediction.nbytes, real, 0.02)


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
    assert prediction.codec == "CTX"
    real = len(codec.encode(extended, dtype="BF16", base=base))
    assert within(prediction.nbytes, real, 0.04)


def test_a_smaller_sample_is_honoured():
    target = tensors.pair("BF16", 400_000)[0]
    real = len(codec.encode(target, dtype="BF16"))
    assert within(codec.predict(target, dtype="BF16", sample=4096).nbytes, real, 0.05)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("drift", DRIFTS)
def test_sketches_foretell_contexts_within_a_few_per_cent(dtype, drift):
    base, target = tensors.pair(dtype, 600_000, drift=drift)
    sketches = codec.sketch(target, dtype=dtype), codec.sketch(base, dtype=dtype)
    prediction = codec.predict_from_sketches(*sketches, target.nbytes)
    assert prediction.codec == "CTX"
    assert within(prediction.nbytes, len(codec.encode(target, dtype=dtype, base=base)), 0.03)


def test_weights_that_only_decayed_are_foretold_by_the_few_steps_they_made():
    base = tensors.pair("F32", 1_000_000)[0]
    target = (base.view(np.float32) * np.float32(1 - 3e-6)).view(np.uint32)
    prediction = codec.predict(target, dtype="F32", base=base)
    assert within(prediction.nbytes, len(codec.encode(target, dtype="F32", base=base)), 0.02)


def few_changes(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Base and target of 24 MB in BF16 that differ in few words, here and there."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(12_000_000) * 0.02
    base = tensors.floats(weights, "BF16")
    if kind == "rounded":
        return base, tensors.floats(weights + rng.laplace(size=weights.size) * 1e-7, "BF16")
    shares = {
        "rows": 0.1 * (rng.random((6000, 1)) < 0.1),
        "bursts": 0.5 * (rng.random((375_000, 1)) < 0.02),
    }
    share = shares[kind] if kind in shares else np.full((1, 1), float(kind))
    changed = rng.random((share.size, base.size // share.size)) < share
    return base, base + changed.reshape(-1) * rng.choice(np.array([1, 65535], np.uint16), base.size)


@pytest.mark.parametrize("kind", ["1e-4", "1e-3", "1e-2", "1e-1", "rows", "bursts", "rounded"])
def test_few_changes_are_counted_and_the_shortest_delta_foretold_within_one_per_cent(kind):
    base, target = few_changes(kind)
    prediction = codec.predict(target, dtype="BF16", base=base)
    frames = {
        name: len(codec.encode(target, dtype="BF16", base=base, codec=name))
        for name in ("SPARSE", "CTX", "PLANE")
    }
    assert prediction.codec == min(frames, key=lambda name: frames[name]) == "SPARSE"
    for name, real in frames.items():
        assert within(prediction.estimates[name], real, 0.01 if name == "SPARSE" else 0.02), name


def test_sketches_of_few_changes_foretell_a_sparse_delta():
    base, target = few_changes("1e-1")
    sketches = codec.sketch(target, dtype="BF16"), codec.sketch(base, dtype="BF16")
    prediction = codec.predict_from_sketches(*sketches, target.nbytes)
    real = len(codec.encode(target, dtype="BF16", base=base, codec="SPARSE"))
    assert within(prediction.estimates["SPARSE"], real, 0.1)


def test_where_next_to_nothing_changed_the_smallest_is_found_by_trying():
    base = tensors.pair("BF16", 2_000_000)[0]
    for share in (1e-2, 1e-3, 1e-4):
        target = base.copy()
        target[np.random.default_rng(0).random(base.size) < share] += 1
        frames = {
            name: len(codec.encode(target, dtype="BF16", base=base, codec=name))
            for name in ("BITX", "CTX", "SPARSE", "auto")
        }
        assert frames["auto"] == min(frames.values())
