"""Early stops judged on runs that no threshold was chosen by, each run to its end for the truth.

The defaults and the constants of training.sched.early_stop were chosen looking at curves and runs
of the seeds below ``HELD_OUT``. A stop is false if the run, gone on to its end, would have gained
more than ``min_gain`` of its best validation loss until then.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from bench.report import print_table
from bench.train import llama
from bench.zenflow import ADAMW, BATCH, chain, loss_of, walks
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.job import AdamwOptions, LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.sched.early_stop import EarlyStop, EarlyStopOptions, Reason
from training.sched.shape import Layout
from training.schedule import Schedule

HELD_OUT = 1000
"""The first seed that nothing was chosen by."""
STEPS, EVERY = 240, 12
RATES = (1e-4, 1e-3, 5e-3, 2e-2, 0.3, 2.0)
MUST = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """All losses of a run that went to its end: of every step, and validation ones by step."""

    kind: str
    losses: Sequence[float]
    evaluations: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Share of the steps saved, and of the best validation loss given up; 0 where it ran on."""

    saved: float = 0.0
    given_up: float = 0.0


def judge(run: Run, options: EarlyStopOptions) -> Verdict | None:
    """Replay a run; None if it is not stopped."""
    stop, evaluations = EarlyStop(options, len(run.losses)), dict(run.evaluations)
    for step, loss in enumerate(run.losses, start=1):
        reason = stop.trained(loss)
        if reason is None and step in evaluations:
            reason = stop.evaluated(step, evaluations[step])
        if reason is not None:
            until = min((each for at, each in run.evaluations if at <= step), default=math.inf)
            best = min(each for _, each in run.evaluations)
            given_up = 0.0 if math.isinf(until) else 1 - best / until
            return Verdict(1 - step / len(run.losses), given_up)
    return None


def real_runs(seed: int) -> Iterable[Run]:
    """LoRA jobs at rates from timid to absurd, on a small model that knows half of the task."""
    base = llama(64, 2)
    first = ADAMW(base, 2e-3)
    for step in range(100):
        loss_of(base, walks(chain(2 * seed), BATCH, 10**6 * (seed + 1) + step)).backward()
        first.step()
        first.zero_grad()
    first.close()
    goal = (chain(2 * seed) + chain(2 * seed + 1)) / 2
    train, held = (_samples(walks(goal, 64, 7 * seed + part)) for part in (0, 1))
    fused = FusedTrainer(base, layout=Layout.PACKED)
    for rate in RATES:
        adapter = new_adapter(fused.base.model, LoraOptions(r=8), seed)
        schedule, plain = Schedule(rate, STEPS, "cosine"), AdamwOptions(max_grad_norm=None)
        fused.join(LoraJob(f"{rate:g}", adapter, train, schedule, batch_size=4, adamw=plain))
    jobs, losses = dict(fused.jobs), {name: [] for name in fused.jobs}
    evaluations: dict[str, list[tuple[int, float]]] = {name: [] for name in jobs}
    for step in range(1, STEPS + 1):
        for name, outcome in fused.step().items():
            losses[name].append(getattr(outcome, "loss", math.nan))
        if step % EVERY == 0:
            for name in fused.jobs:
                evaluations[name].append((step, fused.evaluate(jobs[name], held[:32])))
    for name in jobs:
        if len(losses[name]) == STEPS:
            yield Run("real", losses[name], evaluations[name])


def _samples(tokens: torch.Tensor) -> list[Sample]:
    return [Sample(row, torch.ones(len(row), dtype=torch.bool)) for row in tokens]


def curves(seed: int) -> Iterable[Run]:
    """Drawn ones, of shapes that real runs have: one of each."""
    rng = random.Random(seed)
    low, drop, noise = rng.uniform(0.3, 1.5), rng.uniform(1, 3), rng.uniform(0.005, 0.05)
    power, half, turn = rng.uniform(0.2, 1.2), rng.uniform(10, 120), rng.randint(60, 180)
    shapes: dict[str, Callable[[int], float]] = {
        "power law": lambda step: low + drop * step**-power,
        "exponential": lambda step: low + drop * 0.5 ** (step / half),
        "falls late": lambda step: low + drop * (0.6 if step < turn else 0.2) * step**-0.05,
        "rises": lambda step: low + drop * step**-power + max(0, step - turn) * drop / 40,
        "flat": lambda _: low + drop,
    }
    for kind, shape in shapes.items():
        losses = [shape(step) + rng.gauss(0, noise) for step in range(1, STEPS + 1)]
        told = [(at, shape(at) + rng.gauss(0, noise / 5)) for at in range(EVERY, STEPS + 1, EVERY)]
        yield Run(kind, losses, told)


def stops(seeds: int) -> None:
    """The table, by kind of run: those that thresholds were chosen by, and those held out."""
    rows = []
    for told, first in (("chosen by", 0), ("held out", HELD_OUT)):
        runs = [run for seed in range(first, first + seeds) for run in real_runs(seed)]
        runs += [run for seed in range(first, first + 10 * seeds) for run in curves(seed)]
        for kind in dict.fromkeys(run.kind for run in runs):
            for reason in Reason:
                options = EarlyStopOptions(reasons=frozenset({reason}))
                own = [judge(run, options) for run in runs if run.kind == kind]
                stopped = [each for each in own if each is not None]
                false = sum(each.given_up > options.min_gain for each in stopped)
                share = false / len(own)
                rows.append(
                    [told, kind, reason.value, len(own), len(stopped), false, f"{share:.3f}",
                     f"{sum(each.saved for each in stopped) / len(own):.2f}",
                     f"{max((each.given_up for each in stopped), default=0):.3f}",
                     "" if share <= MUST else f"above {MUST}"]
                )  # fmt: skip
    print_table(
        f"early stops of runs of {STEPS} steps, judged by the same run gone on to its end",
        [
            "",
            "runs",
            "reason",
            "of",
            "stopped",
            "false",
            "/ of",
            "steps saved",
            "most given up",
            "",
        ],
        rows,
        "false: more than min_gain of the best validation loss would have come after it",
    )
