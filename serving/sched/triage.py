"""Whom to give up when not every prompt can be in time: the fewest."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from serving.sched.latency import Vector
from serving.sched.line import Line
from serving.sched.request import RequestView


@dataclass(frozen=True, slots=True)
class PrefillSpeed:
    """How fast prompts are computed beside decodes.

    ``burst_tokens`` can be computed at once, at ``burst_token_s`` each, before decodes run out of
    time in hand; from then on each token takes ``token_s``.
    """

    burst_tokens: float
    burst_token_s: float
    token_s: float

    def seconds(self, num_tokens: Vector) -> Vector:
        """How long so many prompt tokens take from now."""
        at_once = np.minimum(num_tokens, self.burst_tokens)
        return at_once * self.burst_token_s + (num_tokens - at_once) * self.token_s


def fewest_late(
    line: Line, ahead_tokens: int, now_s: float, speed: PrefillSpeed
) -> list[tuple[RequestView, float]]:
    """Requests to give up, each with the seconds by which the plan was late when it was dropped.

    Moore's algorithm (Management Science 15(1), 1968) for the fewest late jobs on one machine: go
    by deadline, and whenever a request would be late, drop the longest prompt so far; whoever has
    waited for it is then in time. Those without a TTFT objective, or with a token already, take
    their turn and are never dropped. ``line`` is in the order of deadlines; prompts under way,
    ``ahead_tokens`` in all, come before it.
    """
    pending = line.pending_tokens
    totals = ahead_tokens + np.cumsum(pending)
    late = np.flatnonzero(now_s + speed.seconds(totals) > line.due_s)
    if not late.size:
        return []
    first = int(late[0])
    total = float(totals[first - 1]) if first else float(ahead_tokens)
    counts, dues = pending.tolist(), line.due_s.tolist()
    droppable = [(-counts[place], -place) for place in range(first) if dues[place] < np.inf]
    heapify(droppable)
    dropped = []
    for place in range(first, len(counts)):
        total += counts[place]
        if dues[place] == np.inf:
            continue
        heappush(droppable, (-counts[place], -place))
        at_once = min(total, speed.burst_tokens)
        taken_s = at_once * speed.burst_token_s + (total - at_once) * speed.token_s
        if now_s + taken_s > dues[place]:
            negative_count, negative_place = heappop(droppable)
            total += negative_count
            dropped.append((line[-negative_place], now_s + taken_s - dues[place]))
    return dropped
