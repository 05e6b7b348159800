"""SCORPIO's TTFT Guard: least deadline first, and no to what cannot make it."""

from dataclasses import dataclass

import numpy as np

from serving.sched.latency import LatencyModel, Vector
from serving.sched.line import Line
from serving.sched.request import RequestView

BEST_EFFORT_TTFT_S = 60.0
"""Where a request without a TTFT objective stands in line; it is never rejected for it."""

ALLOWANCE_S = 0.050
"""What the released code adds to every estimate."""


def deadline_s(request: RequestView) -> float:
    """When its first token is due, seconds on the engine's clock.

    Ascending, this is the paper's order by remaining time: ``now`` is the same for all.
    """
    ttft_s = request.slo.ttft_s
    return request.arrival_s + (BEST_EFFORT_TTFT_S if ttft_s is None else ttft_s)


@dataclass(frozen=True, slots=True)
class TtftGuard:
    """Finds whoever has less time left than its prompt, behind all before it, will take.

    Estimate for place i of the queue: ``Σ_{j≤i} pre(L_j)`` (arXiv 2505.23022, §4.1); or, with
    ``summed``, as in the released code, ``pre(Σ_{j≤i} L_j) + 50 ms``. Both skip those it gives up.
    Prompts under way, ``ahead_tokens`` in all, come before the queue.
    """

    latency: LatencyModel
    summed: bool = False

    def unattainable(
        self, line: Line, ahead_tokens: int, now_s: float, order: list[int] | None = None
    ) -> list[tuple[RequestView, float]]:
        """Those that are too late, and by how many seconds.

        ``order``: places of the line in the order they are looked at; the line's own without.
        """
        if not len(line):
            return []
        places = np.arange(len(line)) if order is None else np.array(order, dtype=int)
        due_s = line.due_s[places]
        costs = (line.pending_tokens if self.summed else line.prefill_s)[places]
        if self.summed:
            ahead = float(ahead_tokens)
        else:
            ahead = self.latency.prefill_s(ahead_tokens) if ahead_tokens else 0.0
        if not (now_s + self._estimates_s(ahead + np.cumsum(costs)) > due_s).any():
            return []
        late = []
        for place, cost, due in zip(places.tolist(), costs.tolist(), due_s.tolist(), strict=True):
            late_s = now_s + self._estimate_s(ahead + cost) - due
            if late_s > 0:
                late.append((line[place], late_s))
            else:
                ahead += cost
        return late

    def _estimate_s(self, cost: float) -> float:
        return self.latency.prefill_s(int(cost)) + ALLOWANCE_S if self.summed else cost

    def _estimates_s(self, costs: Vector) -> Vector:
        return self.latency.prefills_s(costs) + ALLOWANCE_S if self.summed else costs
