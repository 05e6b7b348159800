"""A day of fine-tuning jobs, drawn by a seed."""

import math
import random
from dataclasses import dataclass

from training.sched.shape import SequenceShape
from training.sim.job import SimJob


@dataclass(frozen=True, slots=True)
class Kind:
    """A task: median length of its sequences and how it spreads, batch sizes, median steps."""

    name: str
    median_tokens: float
    spread: float
    batch_sizes: tuple[int, ...]
    median_steps: float
    share: float


KINDS = (
    Kind("classify", 40, 0.4, (4, 8), 150, 0.35),
    Kind("instruct", 150, 0.6, (2, 4, 8), 200, 0.35),
    Kind("dialogue", 400, 0.5, (1, 2, 4), 150, 0.2),
    Kind("documents", 1000, 0.3, (1, 2), 100, 0.1),
)
"""An assumption, not a measurement: short ones are many, long ones are few."""
LONGEST = 2048
DIVERGING = 0.1
"""Share of the jobs that an early stop would end, after a tenth to a half of their steps."""


def day_of_jobs(
    count: int, seed: int, *, span_s: float = 24 * 3600.0, scale: float = 1.0
) -> list[SimJob]:
    """Jobs that arrive at random over the span. ``scale``: of their numbers of steps."""
    rng = random.Random(seed)
    arrivals = sorted(rng.uniform(0, span_s) for _ in range(count))
    return [_job(number, arrived_s, rng, scale) for number, arrived_s in enumerate(arrivals)]


def _job(number: int, arrived_s: float, rng: random.Random, scale: float) -> SimJob:
    kind = rng.choices(KINDS, [kind.share for kind in KINDS])[0]
    size = rng.choice(kind.batch_sizes)
    median = kind.median_tokens * math.exp(rng.gauss(0, 0.3))
    batches = [
        [_sequence(median, kind.spread, rng) for _ in range(size)]
        for _ in range(rng.randint(8, 24))
    ]
    steps = max(4, round(scale * kind.median_steps * math.exp(rng.gauss(0, 0.8))))
    diverges = rng.random() < DIVERGING
    return SimJob(
        f"{kind.name}-{number}",
        arrived_s,
        batches,
        steps,
        priority=rng.choices((0, 1, 2), (0.7, 0.2, 0.1))[0],
        stop_at=max(1, round(steps * rng.uniform(0.1, 0.5))) if diverges else None,
    )


def _sequence(median: float, spread: float, rng: random.Random) -> SequenceShape:
    tokens = min(max(round(median * math.exp(rng.gauss(0, spread))), 8), LONGEST)
    prompt = rng.randint(1, tokens - 4)
    return SequenceShape(tokens, prompt, tokens - 2, tokens - 1 - prompt)
