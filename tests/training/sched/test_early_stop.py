"""Labelled curves: those that are lost are stopped, those that gain are not."""

import math
import random

import pytest
import torch

from tests.training.lora.problems import base, samples
from training.lora.adapter import new_adapter
from training.lora.job import AdamwOptions, LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.sched.early_stop import EarlyStop, EarlyStopOptions, Reason
from training.schedule import Schedule

EVERY = frozenset(Reason)
STEPS = 400


def watch(losses: list[float], options: EarlyStopOptions, every: int = 20):
    """The reason and the step at which a run of these training losses is stopped."""
    stop = EarlyStop(options, len(losses))
    for step, loss in enumerate(losses, start=1):
        if reason := stop.trained(loss):
            return reason, step
        smooth = sum(losses[max(0, step - every) : step]) / min(step, every)
        if step % every == 0 and (reason := stop.evaluated(step, smooth)):
            return reason, step
    return None, len(losses)


def curve(a: float, b: float, c: float, noise: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [a + b * step**-c + rng.gauss(0, noise) for step in range(1, STEPS + 1)]


def test_of_runs_that_gain_to_the_end_at_most_one_in_twenty_is_stopped() -> None:
    stopped = []
    for seed in range(40):
        rng = random.Random(seed)
        losses = curve(rng.uniform(0.2, 1), rng.uniform(2, 4), rng.uniform(0.3, 0.5), 0.03, seed)
        reason, step = watch(losses, EarlyStopOptions(reasons=EVERY, min_gain=0.002))
        if reason is not None:
            stopped.append((seed, reason, step))
    assert len(stopped) <= 2, stopped


@pytest.mark.parametrize("seed", range(20))
def test_runs_that_rise_are_stopped_and_half_their_steps_saved(seed: int) -> None:
    losses = curve(1, 3, 0.5, 0.05, seed)
    turn = random.Random(seed).randint(20, 120)
    for step in range(turn, STEPS):
        losses[step] += min(0.1 * (step - turn), 30)
    reason, step = watch(losses, EarlyStopOptions())
    assert reason is Reason.DIVERGED
    assert turn < step < turn + 200


@pytest.mark.parametrize("seed", range(10))
def test_flat_runs_are_at_a_plateau(seed: int) -> None:
    losses = curve(1.5, 1.0, 1.8, 0.01, seed)
    reason, step = watch(losses, EarlyStopOptions(reasons=frozenset({Reason.PLATEAU})))
    assert reason is Reason.PLATEAU
    assert step <= STEPS * 0.6


@pytest.mark.parametrize("seed", range(10))
def test_runs_that_will_not_gain_are_foretold(seed: int) -> None:
    losses = curve(1.5, 1.5, 1.2, 0.002, seed)
    options = EarlyStopOptions(reasons=frozenset({Reason.PREDICTED}), min_gain=0.02)
    reason, step = watch(losses, options)
    assert reason is Reason.PREDICTED
    saved = losses[step - 20 : step]
    assert sum(saved) / 20 - min(1.5 + 1.5 * STEPS**-1.2, 9) < 0.05
    assert step <= STEPS * 0.6


@pytest.mark.parametrize("reason", [Reason.PLATEAU, Reason.PREDICTED])
@pytest.mark.parametrize("seed", range(10))
def test_a_slow_fall_is_not_taken_for_the_end_of_one(reason: Reason, seed: int) -> None:
    """Less than ``min_gain`` from one evaluation to the next, much more until the end."""
    losses = curve(0.5, 2.0, 0.05, 0.002, seed)
    options = EarlyStopOptions(reasons=frozenset({reason}))
    _, step = watch(losses, options)
    there, at_last = (0.5 + 2 * each**-0.05 for each in (step, STEPS))
    assert 1 - at_last / there < options.min_gain


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_losses_that_are_no_numbers_are_no_reason(loss: float) -> None:
    stop = EarlyStop(EarlyStopOptions(reasons=EVERY), 40)
    assert {stop.evaluated(step, loss) for step in range(1, 41)} == {None}


def test_not_asked_for_is_not_done() -> None:
    falling = [5 * math.exp(-step / 30) + 0.1 for step in range(STEPS)]
    assert watch(falling, EarlyStopOptions()) == (None, STEPS)
    rising = [1 + step / 10 for step in range(STEPS)]
    assert watch(rising, EarlyStopOptions(reasons=frozenset())) == (None, STEPS)


@pytest.mark.parametrize(
    ("lr", "is_lost"),
    [(1e-3, False), (3e-3, False), (1e-2, False), (5e-3, False), (0.3, False), (1.0, True)],
)
def test_real_runs(lr: float, is_lost: bool) -> None:
    """At absurd rates a network with norms does not explode; it learns nothing more, or slowly."""
    fused = FusedTrainer(base(torch.float32))
    adapter = new_adapter(fused.base.model, LoraOptions(r=4), seed=0)
    held = samples(16, 12, seed=3)
    run = LoraJob(
        "run",
        adapter,
        held,
        Schedule(lr, 100, "constant"),
        batch_size=4,
        adamw=AdamwOptions(max_grad_norm=None),
    )
    fused.join(run)
    reasons = frozenset({Reason.DIVERGED, Reason.PLATEAU})
    stop = EarlyStop(EarlyStopOptions(reasons=reasons, min_gain=0.01), 100)
    reason = None
    while not run.is_done and reason is None:
        reason = stop.trained(fused.step()["run"].loss)
        if run.num_steps % 10 == 0:
            reason = reason or stop.evaluated(run.num_steps, fused.evaluate(run, held))
    assert (reason is not None) == is_lost


@pytest.mark.parametrize(
    ("wrong", "says"), [({"min_gain": 0}, "min_gain"), ({"patience": 0}, "patience")]
)
def test_options_that_make_no_sense_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EarlyStopOptions(**wrong)
