"""Whom to give up when not every first token can be in time: the fewest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

import numpy as np

from serving.sched.latency import Vector
from serving.sched.line import Line
from serving.sched.request import RequestView


@dataclass(frozen=True, slots=True)
class PrefillSpeed:
    """How fast prompts are computed beside decodes.

    ``burst_tokens`` can be computed at once, at ``burst_token_s`` each, before decodes run out of
    time in hand; from then on each token takes ``token_s``. ``decodes_s`` is what the decodes of
    their step take, which the first token waits for too.
    """

    burst_tokens: float
    burst_token_s: float
    token_s: float
    decodes_s: float = 0.0

    def seconds(self, num_tokens: Vector) -> Vector:
        """How long so many prompt tokens take from now."""
        at_once = np.minimum(num_tokens, self.burst_tokens)
        rest = num_tokens - at_once
        return self.decodes_s + at_once * self.burst_token_s + rest * self.token_s


@dataclass(frozen=True, slots=True)
class Supply:
    """What running requests give back as they end: places, KV blocks.

    ``free`` now, less than 0 where more is promised than there is; then ``per_s`` a second.
    ``step_s``: what the step takes that gives the first token.
    """

    free: float
    per_s: float
    step_s: float

    def seconds(self, needed: Vector) -> Vector:
        """How long from now until so much was to be had, and a token computed."""
        return self.step_s + np.maximum(0.0, needed - max(0.0, self.free)) / self.per_s


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that whoever waits must get, in order, before its first token.

    ``needs``: what each takes of it. ``seconds``: how long from now until so much was given out in
    all. ``weights``: when it is short, the heaviest is given up first.
    """

    needs: Vector
    seconds: Callable[[Vector], Vector]
    weights: Vector


class _Taken:
    """How much of a bound those kept so far take, and which of them is the heaviest."""

    def __init__(self, bound: Bound, droppable: Sequence[int], num_kept: int) -> None:
        self.total = float(bound.needs[:num_kept].sum())
        self._seconds = bound.seconds
        self._needs = bound.needs.tolist()
        self._weights = bound.weights.tolist()
        self._heap = [(-self._weights[place], -place) for place in droppable]
        heapify(self._heap)

    @property
    def ready_s(self) -> float:
        return float(self._seconds(np.asarray(self.total)))

    def add(self, place: int, *, droppable: bool) -> None:
        self.total += self._needs[place]
        if droppable:
            heappush(self._heap, (-self._weights[place], -place))

    def drop(self, place: int) -> None:
        self.total -= self._needs[place]

    def heaviest(self, gone: set[int]) -> int:
        while True:
            place = -heappop(self._heap)[1]
            if place not in gone:
                return place


def fewest_late(
    line: Line, now_s: float, bounds: Sequence[Bound]
) -> list[tuple[RequestView, float]]:
    """Requests to give up, each with the seconds by which the plan was late when it was dropped.

    Moore's algorithm (Management Science 15(1), 1968) for the fewest late jobs on one machine: go
    by deadline, and whenever a request would be late, drop the heaviest so far; whoever has waited
    for it is then in time. Each bound is such a machine, and a request is late when any of them
    makes it late. Those without a TTFT objective, or with a token already, take their turn and are
    never dropped. ``line`` is in the order of deadlines.
    """
    due_s = line.due_s
    late = np.zeros(len(line), dtype=bool)
    for bound in bounds:
        late |= now_s + bound.seconds(np.cumsum(bound.needs)) > due_s
    if not late.any():
        return []
    first = int(late.argmax())
    dues = due_s.tolist()
    before = [place for place in range(first) if dues[place] < inf]
    taken = [_Taken(bound, before, first) for bound in bounds]
    gone: set[int] = set()
    dropped = []
    for place in range(first, len(dues)):
        for each in taken:
            each.add(place, droppable=dues[place] < inf)
        for each in taken:
            while place not in gone and (late_s := now_s + each.ready_s - dues[place]) > 0:
                heaviest = each.heaviest(gone)
                gone.add(heaviest)
                dropped.append((line[heaviest], late_s))
                for other in taken:
                    other.drop(heaviest)
    return dropped
