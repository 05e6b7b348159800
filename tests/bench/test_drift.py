"""Simulated steps are as slow as measured ones were, then and in that order."""

import itertools
import random

import pytest

from bench.drift import SPELL, Drifting, TimedStep, scattered, shuffled, slower, speed
from serving.sched.fit import StepSample
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape
from tests.fixtures.serving import make_limits

# A decode of one takes 10 ms, a prefill of one token 20 ms.
LATENCY = FittedLatency(a=0, b=0, c=0, d=0.010, theta=64, phi=0.020, alpha=0.001, beta=0)
DECODE, PREFILL = StepShape(num_decodes=1, context_tokens=9), StepShape(prefill_tokens=1)


def timed(start_s: float, shape: StepShape, duration_s: float) -> TimedStep:
    return TimedStep(start_s, StepSample(shape, duration_s))


STEPS = [timed(0, DECODE, 0.011), timed(1, PREFILL, 0.020), timed(2, DECODE, 0.030)]


def test_speed_is_what_steps_took_over_what_was_told() -> None:
    assert speed(STEPS, LATENCY) == pytest.approx(0.061 / 0.040)
    assert speed(STEPS, slower(LATENCY, 2)) == pytest.approx(0.061 / 0.080)


def test_a_slower_machine_takes_longer_for_everything() -> None:
    for shape in (DECODE, PREFILL, StepShape(num_decodes=3, context_tokens=9, prefill_tokens=80)):
        assert slower(LATENCY, 3).step_s(shape) == pytest.approx(3 * LATENCY.step_s(shape))


@pytest.mark.parametrize(
    ("now_s", "shape", "duration_s"),
    [(0.0, DECODE, 0.011), (0.9, DECODE, 0.011), (1.1, DECODE, 0.030), (9.0, DECODE, 0.030),
     (9.0, PREFILL, 0.020)],
)  # fmt: skip
def test_a_step_is_slowed_as_the_nearest_of_its_kind(now_s, shape, duration_s) -> None:
    machine = Drifting(make_limits(), 100, STEPS, LATENCY)

    machine.view(now_s)

    assert machine.step_s(shape) == pytest.approx(duration_s)


def test_a_kind_that_was_not_measured_is_slowed_as_any_other_then() -> None:
    machine = Drifting(make_limits(), 100, STEPS, LATENCY)
    both = StepShape(num_decodes=1, context_tokens=9, prefill_tokens=1)

    machine.view(1.8)

    assert machine.step_s(both) == pytest.approx(3 * LATENCY.step_s(both))


def test_scattered_steps_come_in_order_by_kind_and_begin_again() -> None:
    step_s = scattered(STEPS, LATENCY)

    assert [round(step_s(DECODE), 6) for _ in range(3)] == [0.011, 0.030, 0.011]
    assert step_s(PREFILL) == pytest.approx(0.020)


def test_deciding_takes_time_on_top_however_slow_the_step() -> None:
    steps = [TimedStep(0.0, StepSample(DECODE, 0.020), decide_s=0.003)]

    assert scattered(steps, LATENCY)(DECODE) == pytest.approx(0.023)
    assert Drifting(make_limits(), 100, steps, LATENCY).step_s(DECODE) == pytest.approx(0.023)


def test_shuffled_spells_stay_whole() -> None:
    steps = [timed(number, DECODE, 0.01) for number in range(4 * SPELL + 3)]

    found = shuffled(steps, random.Random(1))

    assert sorted(found, key=lambda step: step.start_s) == steps
    assert found != steps
    breaks = sum(b.start_s != a.start_s + 1 for a, b in itertools.pairwise(found))
    assert breaks <= 4
