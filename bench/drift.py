"""How a machine's speed drifts from step to step, and a simulated one that drifts alike."""

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random

from serving.sched.engine import EngineView, Limits
from serving.sched.fit import StepSample
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape
from serving.sim.machine import Machine

Kind = tuple[bool, bool]
"""Whether a step decodes, and whether it computes prompts."""

SPELL = 20
"""Steps that stay together when their order is drawn."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step that was measured, and when it began, seconds on its engine's clock."""

    start_s: float
    sample: StepSample


def slower(latency: FittedLatency, factor: float) -> FittedLatency:
    """The model of a machine on which everything takes ``factor`` times as long."""
    seconds = ("a", "b", "c", "d", "phi", "alpha", "beta", "e", "g")
    return replace(latency, **{name: factor * getattr(latency, name) for name in seconds})


def speed(steps: Sequence[TimedStep], latency: FittedLatency) -> float:
    """What steps took in all, over what the model says of them: 1 is as told, 2 half as fast."""
    told_s = sum(latency.step_s(step.sample.shape) for step in steps)
    return sum(step.sample.duration_s for step in steps) / told_s


def shuffled(steps: Sequence[TimedStep], rng: Random) -> list[TimedStep]:
    """The same steps, spell after spell in random order: slow spells last longer than a step."""
    spells = [steps[start : start + SPELL] for start in range(0, len(steps), SPELL)]
    rng.shuffle(spells)
    return [step for spell in spells for step in spell]


def scattered(steps: Sequence[TimedStep], latency: FittedLatency) -> Callable[[StepShape], float]:
    """Steps by the model, as far off as measured ones were, in their order and by their kind."""
    every = _by_kind(steps, latency)
    coming: dict[Kind, Iterator[float]] = {
        kind: cycle(taken for _, taken in each) for kind, each in every.items()
    }
    return lambda shape: latency.step_s(shape) * next(coming.get(kind_of(shape), cycle((1.0,))))


class Drifting(Machine):
    """Steps take what the model says, slowed as another engine's step of that kind was just then.

    A slow spell thus meets whoever is there at that time, and whoever decides by the told time is
    told as wrongly as it was in that engine.
    """

    def __init__(
        self,
        limits: Limits,
        num_blocks: int,
        steps: Sequence[TimedStep],
        latency: FittedLatency,
    ) -> None:
        super().__init__(limits, num_blocks)
        self._latency = latency
        self._spells = _by_kind(steps, latency)
        self._all = sorted(spell for each in self._spells.values() for spell in each)
        self._now_s = 0.0

    def view(self, now_s: float) -> EngineView:
        """What a policy is shown at a time, which is when the step begins."""
        self._now_s = now_s
        return super().view(now_s)

    def step_s(self, shape: StepShape) -> float:
        """Seconds that a step takes which begins now."""
        spells = self._spells.get(kind_of(shape), self._all)
        after = bisect(spells, (self._now_s,))
        around = spells[max(0, after - 1) : after + 1]
        nearest = min(around, key=lambda spell: abs(spell[0] - self._now_s))
        return self._latency.step_s(shape) * nearest[1]


def kind_of(shape: StepShape) -> Kind:
    """Steps of a kind are slowed alike."""
    return shape.num_decodes > 0, shape.prefill_tokens > 0


def _by_kind(
    steps: Sequence[TimedStep], latency: FittedLatency
) -> dict[Kind, list[tuple[float, float]]]:
    found: dict[Kind, list[tuple[float, float]]] = {}
    for step in steps:
        taken = step.sample.duration_s / latency.step_s(step.sample.shape)
        found.setdefault(kind_of(step.sample.shape), []).append((step.start_s, taken))
    return found
