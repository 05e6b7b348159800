"""SCORPIO (arXiv 2505.23022), its released code's form, and each of its guards alone."""

from collections.abc import Iterator

from serving.sched.decision import Reason
from serving.sched.engine import Limits
from serving.sched.latency import LatencyModel
from serving.sched.line import tpot_of
from serving.sched.ordered import Key
from serving.sched.queueing import QueueingPolicy
from serving.sched.request import RequestView, num_tokens
from serving.sched.step import Step
from serving.sched.tpot_guard import Mix, TpotGuard
from serving.sched.ttft_guard import TtftGuard, deadline_s


class TtftGuarded(QueueingPolicy):
    """The TTFT Guard alone: least deadline first, the unattainable rejected, all decode."""

    name = "ttft-guard"

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.ttft_guard = TtftGuard(latency)

    def key(self, request: RequestView) -> Key:
        """The deadline of its first token."""
        return (deadline_s(request),)

    def rejection_order(self) -> list[int] | None:
        """Places of the queue as rejection looks at them; None: as they are."""
        return None

    def refuse(self, step: Step) -> None:
        """Those that cannot make their TTFT."""
        late = self.ttft_guard.unattainable(
            self.waiting, self.running.pending_tokens, step.engine.now_s, self.rejection_order()
        )
        self.reject_late(step, late)


class TpotGuarded(QueueingPolicy):
    """The TPOT Guard alone: by arrival, admitted by virtual batch size, stepping by credits.

    Who is refused waits on, while others may be admitted before it; once nothing runs, what is
    still refused could not even be served alone, and is rejected.
    """

    name = "tpot-guard"

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.tpot_guard = TpotGuard(latency)

    def started(self, request: RequestView) -> None:
        """It counts from now on."""
        self.tpot_guard.started(request)

    def ended(self, request: RequestView) -> None:
        """It counts no more."""
        self.tpot_guard.ended(request)

    def admissible(self, step: Step) -> Iterator[RequestView]:
        """All that fit into the virtual batch, the rest passed over."""
        del step
        return self.tpot_guard.admissible(self.running_mix(), self.waiting)

    def running_mix(self) -> Mix:
        """Those that run, as the guard sees them."""
        return self.tpot_guard.mix(sum(num_tokens(request) for request in self.running))

    def decoders(self, step: Step) -> list[RequestView]:
        """Those whose credit suffices."""
        return self.tpot_guard.take_part(super().decoders(step))

    def idle(self, step: Step) -> None:
        """Nothing runs and all that wait were refused."""
        super().idle(step)
        for request in list(self.waiting):
            if not request.num_generated_tokens:
                self.reject(step, request, Reason.TPOT, None)


class Scorpio(TtftGuarded, TpotGuarded):
    """Both guards, as in the paper's Algorithm 1; prompts first, as in its evaluation."""

    name = "scorpio"


class ScorpioCode(Scorpio):
    """As the released code has it (MisterBrookT/Scorpio, d27778c), where that differs.

    TTFT estimates sum tokens before they ask the prefill model and add 50 ms. Rejection looks at
    the order of the step before, where new arrivals stand last. Admission stops at the first
    refusal, refuses unasked when the last attempt failed, nobody left since and this request is no
    looser than that one, and asks for 1 % of margin. The tightest spend no credit.
    """

    name = "scorpio-code"

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.ttft_guard = TtftGuard(latency, summed=True)
        self.tpot_guard = TpotGuard(latency, margin=0.99, bypass=True)
        self._refused_s = 0.0
        self._refused_at = 0

    def rejection_order(self) -> list[int] | None:
        """That of the step before, then whoever is new."""
        if not self.fresh:
            return None
        fresh = {request.request_id for request in self.fresh}
        places = range(len(self.waiting))
        return sorted(places, key=lambda place: self.waiting[place].request_id in fresh)

    def admissible(self, step: Step) -> Iterator[RequestView]:
        """The first ones, up to a refusal."""
        del step
        num_running = len(self.running)
        if num_running < self._refused_at:
            self._refused_s = 0.0
        mix = self.running_mix()
        for request in self.waiting:
            tpot_s = tpot_of(request)
            if not request.num_generated_tokens and (
                tpot_s <= self._refused_s or not self.tpot_guard.admits(mix, request)
            ):
                self._refused_s, self._refused_at = tpot_s, num_running
                return
            yield request
            mix, num_running = mix.with_(request), num_running + 1
            self._refused_s = 0.0
