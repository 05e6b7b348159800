"""A latency model found in the first steps."""

import random
from dataclasses import asdict, replace

import pytest

from serving.sched.calibrate import TYPICAL, UNKNOWN, Calibration
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape

DECODES = [StepShape(num_decodes=1 + n % 3, context_tokens=100 + n) for n in range(16)]
PREFILLS = [StepShape(prefill_tokens=100 * n) for n in range(1, 5)]
SLOWER = replace(
    TYPICAL,
    **{name: 3 * getattr(TYPICAL, name) for name in ("a", "b", "c", "d")},
    **{name: 5 * getattr(TYPICAL, name) for name in ("phi", "alpha", "beta", "e")},
)


def fresh() -> FittedLatency:
    return replace(UNKNOWN)


def test_nothing_is_foretold_before_enough_was_seen() -> None:
    latency = fresh()
    calibration = Calibration(latency)

    for shape in [*DECODES, *DECODES, *PREFILLS[:-1]]:
        calibration.observe(shape, 1.0)

    assert not calibration.is_known
    assert latency == UNKNOWN
    assert latency.prefill_s(8192) < 1e-3


def test_both_kinds_are_scaled_by_their_medians() -> None:
    latency, told = fresh(), []
    calibration = Calibration(latency, told=told.append)
    steps = [*DECODES, *PREFILLS]
    random.Random(0).shuffle(steps)

    for number, shape in enumerate(steps):
        warming = 20 if number in {0, 7} else 1
        calibration.observe(shape, warming * SLOWER.step_s(shape))

    assert calibration.is_known
    assert told == [latency]
    assert asdict(latency) == pytest.approx(asdict(SLOWER), rel=0.01)


def test_mixed_steps_have_no_single_cause() -> None:
    calibration = Calibration(fresh(), num_decodes=0, num_prefills=1)

    calibration.observe(StepShape(num_decodes=2, context_tokens=9, prefill_tokens=7), 1.0)

    assert not calibration.is_known


def test_from_then_on_it_follows_the_engine() -> None:
    latency = replace(TYPICAL)
    calibration = Calibration(latency, is_known=True)

    for _ in range(40):
        for shape in [*DECODES, *PREFILLS]:
            calibration.observe(shape, SLOWER.step_s(shape))

    decode = DECODES[5]
    assert latency.step_s(decode) > 2 * TYPICAL.step_s(decode)
