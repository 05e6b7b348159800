"""Coefficients found again in samples made from them."""

import random
from dataclasses import fields, replace

import pytest

from serving.sched.fit import StepSample, TooFewSamples, fit_latency, quality
from serving.sched.latency import FittedLatency
from serving.sched.refit import ANCHORS, Refit
from serving.sched.shape import StepShape

TRUE = FittedLatency(
    a=6e-8, b=5e-5, c=1e-7, d=0.013, theta=150, phi=0.016, alpha=7e-5, beta=0.006, e=3e-9
)
GRID = [
    *(StepShape(num_decodes=b, context_tokens=b * n) for b in (1, 4, 16, 64) for n in (64, 900)),
    *(StepShape(prefill_tokens=n) for n in (30, 120, 150, 151, 200, 400, 1_000, 3_000)),
    *(StepShape(prefill_tokens=n, pairs_behind=n * 4_000) for n in (300, 600, 900, 2_000)),
    *(StepShape(num_decodes=b, context_tokens=b * 500, prefill_tokens=n)
      for b in (4, 64) for n in (40, 200, 900)),
]  # fmt: skip


def samples(latency: FittedLatency, noise: float = 0.0) -> list[StepSample]:
    rng = random.Random(1)
    return [StepSample(shape, latency.step_s(shape) * rng.gauss(1, noise)) for shape in GRID]


@pytest.mark.parametrize(("f", "g"), [(0.0, 0.0), (0.6, 0.002), (1.0, 0.0), (0.0, 0.001)])
def test_exact_samples_give_exact_coefficients(f: float, g: float) -> None:
    true = replace(TRUE, f=f, g=g)
    fitted = fit_latency(samples(true))

    for field in fields(true):
        found, told = getattr(fitted, field.name), getattr(true, field.name)
        assert found == pytest.approx(told, rel=1e-3, abs=1e-8), field.name
    assert quality(fitted, samples(true)).r2 == pytest.approx(1)


def test_mixed_steps_dearer_than_both_kinds_together_pay_both_and_a_constant() -> None:
    steps = samples(replace(TRUE, f=1.5))

    fitted = fit_latency(steps)

    assert fitted.f == 1
    assert fitted.g > 0
    assert quality(fitted, steps).mape < quality(replace(fitted, f=0, g=0), steps).mape


def test_noise_gives_a_model_as_good_as_the_noise_and_no_negative_cost() -> None:
    noisy = samples(replace(TRUE, c=0.0), noise=0.05)

    fitted = fit_latency(noisy)

    assert quality(fitted, noisy).mape < 0.05
    assert min(fitted.a, fitted.b, fitted.c, fitted.d) >= 0


def test_too_little_is_said_to_be_too_little() -> None:
    decodes = [StepSample(shape, 0.01) for shape in GRID if shape.num_decodes]

    with pytest.raises(TooFewSamples, match="0 prefill steps"):
        fit_latency(decodes)


def test_refit_follows_the_machine_in_place() -> None:
    latency = replace(TRUE)
    slower = replace(TRUE, d=TRUE.d * 1.5)
    refit = Refit(latency, every=64)
    shape = StepShape(num_decodes=32, context_tokens=32 * 700)

    for _ in range(10):
        for b in range(1, 64):
            busy = StepShape(num_decodes=b, context_tokens=b * 700)
            refit.observe(busy, slower.step_s(busy))

    assert latency.step_s(shape) == pytest.approx(slower.step_s(shape), rel=0.05)
    prompt = StepShape(prefill_tokens=1_000)
    assert latency.step_s(prompt) == pytest.approx(TRUE.step_s(prompt), rel=0.05)


def test_mixed_steps_teach_what_they_alone_take() -> None:
    latency = replace(TRUE)
    dearer = replace(TRUE, f=0.8, g=0.001)
    refit = Refit(latency, every=64)
    mixed = [shape for shape in GRID if shape.is_mixed]

    for _ in range(200):
        for shape in mixed:
            refit.observe(shape, dearer.step_s(shape))

    for shape in GRID:
        true = dearer if shape.is_mixed else TRUE
        assert latency.step_s(shape) == pytest.approx(true.step_s(shape), rel=0.1)


def test_anchors_alone_fit_every_coefficient() -> None:
    fitted = fit_latency([StepSample(shape, TRUE.step_s(shape)) for shape in ANCHORS])

    for shape in GRID:
        assert fitted.step_s(shape) == pytest.approx(TRUE.step_s(shape), rel=0.15)
