"""How a machine's speed drifts from step to step, and a simulated one that drifts alike."""

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from operator import attrgetter
from random import Random
from typing import NamedTuple

from serving.sched.engine import EngineView, Limits
from serving.sched.fit import StepSample
from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape
from serving.sim.machine import Machine

Kind = tuple[int, int]
"""How many decodes and prompt tokens a step has, in powers of two."""

SPELL = 20
"""Steps that stay together when their order is drawn."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step that was measured, and when it began, seconds on its engine's clock.

    ``decide_s``: what the policy took to decide on it; not in the sample, as models know nothing
    of policies.
    """

    start_s: float
    sample: StepSample
    decide_s: float = 0.0


class Spell(NamedTuple):
    """How slow a step was: its start, taken over told, and what deciding took on top."""

    start_s: float
    taken: float
    decide_s: float

    def step_s(self, shape: StepShape, latency: FittedLatency) -> float:
        """What a step of another shape takes if it is as slow."""
        return latency.step_s(shape) * self.taken + self.decide_s


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
    coming: dict[Kind, Iterator[Spell]] = {kind: cycle(each) for kind, each in every.items()}
    others = cycle([spell for each in every.values() for spell in each])

    def step_s(shape: StepShape) -> float:
        return next(coming.get(kind_of(shape), others)).step_s(shape, latency)

    return step_s


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
        after = bisect(spells, self._now_s, key=attrgetter("start_s"))
        around = spells[max(0, after - 1) : after + 1]
        nearest = min(around, key=lambda spell: abs(spell.start_s - self._now_s))
        return nearest.step_s(shape, self._latency)


def kind_of(shape: StepShape) -> Kind:
    """Steps of a kind are slowed alike."""
    return shape.num_decodes.bit_length(), shape.prefill_tokens.bit_length()


def _by_kind(steps: Sequence[TimedStep], latency: FittedLatency) -> dict[Kind, list[Spell]]:
    found: dict[Kind, list[Spell]] = {}
    for step in steps:
        taken = step.sample.duration_s / latency.step_s(step.sample.shape)
        found.setdefault(kind_of(step.sample.shape), []).append(
            Spell(step.start_s, taken, step.decide_s)
        )
    return found
