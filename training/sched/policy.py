"""Policies: which jobs take their next step together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training.sched.job import JobView
from training.sched.rank import Aging
from training.sched.room import Room, held_nbytes, shape_together


class Policy(Protocol):
    """Decides before every step, from what it is shown alone; equal calls, equal answers.

    Jobs are preempted by not being chosen. At least one is chosen if there are any: what does not
    fit even alone is halved by the trainer.
    """

    @property
    def name(self) -> str:
        """What it is called in settings and tables."""
        ...

    def choose(self, jobs: Sequence[JobView], room: Room, now_s: float) -> list[JobView]:
        """Those that step now, in the order of their batch."""
        ...


@dataclass(frozen=True, slots=True)
class Fifo:
    """As many as there is room for, in the order they came; nobody overtakes."""

    name: str = "fifo"

    def choose(self, jobs: Sequence[JobView], room: Room, now_s: float) -> list[JobView]:  # noqa: ARG002
        """The first of the queue."""
        chosen: list[JobView] = []
        for job in sorted(jobs, key=lambda job: job.arrived_s):
            if chosen and not _fit([*chosen, job], jobs, room):
                break
            chosen.append(job)
        return chosen


@dataclass(frozen=True, slots=True)
class MinPad:
    """Of those that rank highest, the ones whose lengths lie closest (ASPEN, arXiv 2312.02515).

    ``share``: of the jobs, by rank, that are candidates; less means shorter turnaround, more means
    less padding ("adaptive" in the paper). Every candidate is tried as the longest, filled up with
    those that come next below it, and with the first in rank if none of them has the highest aged
    priority; of all for which there is room, the choice is taken that trains the most tokens for
    those it computes.
    """

    aging: Aging
    share: float = 0.6
    name: str = "minpad"

    def choose(self, jobs: Sequence[JobView], room: Room, now_s: float) -> list[JobView]:
        """Jobs of like length."""
        if not jobs:
            return []
        ranked = sorted(jobs, key=lambda job: self.aging.rank(job, now_s))
        count = min(max(round(self.share * len(ranked)), room.most_jobs), MOST_CANDIDATES)
        lengths = {job.name: max(each.tokens for each in job.shapes()) for job in ranked[:count]}
        falling = sorted(ranked[:count], key=lambda job: (-lengths[job.name], job.name))
        highest = self.aging.priority(ranked[0], now_s)
        due = {job.name for job in falling if self.aging.priority(job, now_s) == highest}
        best, best_score = [ranked[0]], _score([ranked[0]], room)
        for start, longest in enumerate(falling):
            chosen = [longest]
            below = iter(falling[start + 1 :])
            while True:
                asked = chosen
                if all(job.name not in due for job in chosen):
                    asked = [*chosen[: room.most_jobs - 1], ranked[0]]
                score = _score(asked, room)
                if score > best_score and _fit(asked, jobs, room):
                    best, best_score = list(asked), score
                following = next(below, None)
                if following is None or len(chosen) == room.most_jobs:
                    break
                chosen.append(following)
        return best


@dataclass(frozen=True, slots=True)
class Packed:
    """In the order of rank, whoever still fits into the budget of tokens: nothing is padded."""

    aging: Aging
    name: str = "packed"

    def choose(self, jobs: Sequence[JobView], room: Room, now_s: float) -> list[JobView]:
        """The first in rank, and all that fit beside."""
        chosen: list[JobView] = []
        for job in sorted(jobs, key=lambda job: self.aging.rank(job, now_s)):
            if len(chosen) == room.most_jobs:
                break
            if not chosen or _fit([*chosen, job], jobs, room):
                chosen.append(job)
        return chosen


def _fit(chosen: Sequence[JobView], jobs: Sequence[JobView], room: Room) -> bool:
    return room.holds(chosen, held_nbytes(chosen, jobs))


MOST_CANDIDATES = 32
"""A decision takes time for each of them, and a step waits for it."""
OVERHEAD_TOKENS = 64
"""What a step costs whatever is in it, told in tokens; its share shrinks as batches grow."""


def _score(jobs: Sequence[JobView], room: Room) -> float:
    """Real tokens for each that is paid for."""
    shape = shape_together(jobs, room.layout)
    return shape.real / (shape.tokens + OVERHEAD_TOKENS)


def create_policy(name: str, aging: Aging | None = None) -> Policy:
    """By its name. Raises ValueError for an unknown one."""
    aging = aging or Aging()
    policies: dict[str, Policy] = {
        policy.name: policy for policy in (Fifo(), MinPad(aging), Packed(aging))
    }
    if name not in policies:
        raise ValueError(f"there is no policy {name!r}; there are {', '.join(policies)}")
    return policies[name]
