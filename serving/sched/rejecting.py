"""Baselines that say no: FCFS with a TTFT check, and Mooncake's early rejection.

Both run chunks of prompts beside decodes, which makes them stronger than prefill-first would.
"""

from itertools import takewhile
from math import inf

from serving.sched.decision import Reason
from serving.sched.engine import Limits
from serving.sched.latency import LatencyModel
from serving.sched.queueing import QueueingPolicy
from serving.sched.request import RequestView, num_pending_tokens, num_tokens
from serving.sched.step import Step
from serving.sched.ttft_guard import TtftGuard


class FcfsReject(QueueingPolicy):
    """By arrival; every step those are rejected that cannot make their TTFT in that order."""

    name = "fcfs-reject"
    mixed = True

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.ttft_guard = TtftGuard(latency)

    def refuse(self, step: Step) -> None:
        """Those that cannot make their TTFT."""
        now_s = step.engine.now_s
        late = self.ttft_guard.unattainable(self.waiting, self.running.pending_tokens, now_s)
        self.reject_late(step, late)


class Mooncake(QueueingPolicy):
    """By arrival; decided once, when a request comes (Mooncake, FAST'25, §7: early rejection).

    Its TTFT is that of all prompts before it and its own. Its TPOT is that of the batch which it
    will find then: whoever waits before it, and who runs now with more tokens left than there are
    steps until then; it must not exceed the objective of anybody in it.
    """

    name = "mooncake"
    mixed = True

    def refuse(self, step: Step) -> None:
        """New requests whose predicted TTFT or TPOT is beyond an objective."""
        if not self.fresh:
            return
        waiting = float(self.waiting.pending_tokens.sum()) - sum(
            map(num_pending_tokens, self.fresh)
        )
        ahead_s = (waiting + self.running.pending_tokens) * self.latency.prefill_token_s
        for request in self.fresh:
            own_s = self.latency.prefill_s(num_pending_tokens(request))
            ttft_s = ahead_s + own_s
            waited_s = step.engine.now_s - request.arrival_s
            limit_s = inf if request.slo.ttft_s is None else request.slo.ttft_s - waited_s
            if ttft_s > limit_s:
                retry_s = None if own_s > limit_s + waited_s else ttft_s - limit_s
                self.reject(step, request, Reason.TTFT, retry_s)
            elif self._is_too_slow(request, ttft_s):
                self.reject(step, request, Reason.TPOT, ttft_s)
            else:
                ahead_s = ttft_s

    def _is_too_slow(self, request: RequestView, ttft_s: float) -> bool:
        """Whether the batch it will decode in misses an objective of its members."""
        mates = list(takewhile(lambda other: other is not request, self.waiting))
        step_s = self.latency.decode_s(max(1, len(self.running)), num_tokens(request))
        steps = ttft_s / step_s
        mates += [
            other
            for other in self.running
            if other.predicted_tokens - other.num_generated_tokens > steps
        ]
        batch = [request, *mates][: self.limits.max_num_seqs]
        context = sum(num_tokens(member) + member.predicted_tokens / 2 for member in batch)
        tightest_s = min(
            inf if member.slo.tpot_s is None else member.slo.tpot_s for member in batch
        )
        return self.latency.decode_s(len(batch), context / len(batch)) > tightest_s
