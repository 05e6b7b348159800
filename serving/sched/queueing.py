"""What all policies share: an order, two sets, and steps filled from them."""

from collections.abc import Iterator

from serving.sched.decision import Decision, Reason, Rejection
from serving.sched.engine import EngineView, Limits
from serving.sched.latency import LatencyModel
from serving.sched.line import Line
from serving.sched.ordered import Key
from serving.sched.request import RequestView, num_pending_tokens, num_tokens
from serving.sched.running import Running
from serving.sched.step import Step

LOOKED_AT = 32
"""How many of those that wait are asked each step what they still have to compute."""


class QueueingPolicy:
    """Fills steps in the order of :meth:`key`, which also says, from its end, who is preempted.

    ``mixed`` steps hold every decode and chunks of prompts beside them (Sarathi's chunked prefill,
    vLLM V1); otherwise a step holds prompts alone, as long as there are any to compute, or decodes
    alone (vLLM V0), and a prompt that fits into a step is never cut. An engine that cannot cut
    prompts has no mixed steps: decodes would keep long prompts out for ever.

    Subclasses say who is refused, who is admitted, and who decodes in a step.
    """

    name = "fcfs"
    mixed = False

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        self.limits = limits
        self.latency = latency
        self.mixed = self.mixed and limits.chunked_prefill
        self.waiting = Line(self.key, latency)
        self.running = Running(self.key)
        self.fresh: list[RequestView] = []
        self._arrived: list[RequestView] = []
        self._preempted: list[RequestView] = []
        """They wait again, and join the queue when their KV blocks are gone."""

    # What subclasses override.

    def key(self, request: RequestView) -> Key:
        """Ascending order of service; must not change while the request lives."""
        return (request.arrival_s,)

    def refuse(self, step: Step) -> None:
        """Reject waiting requests by :meth:`reject`; called once a step, before anything else."""

    def admissible(self, step: Step) -> Iterator[RequestView]:
        """Waiting requests that may start, in order; asked for another, it knows the last started.

        Admission stops at the first that finds no KV blocks: nobody overtakes it.
        """
        del step
        return iter(self.waiting)

    def decoders(self, step: Step) -> list[RequestView]:
        """Running requests in decode that take part in this step, in order; some, if any is."""
        del step
        return self.running.decoding

    def idle(self, step: Step) -> None:
        """Nothing runs, yet nothing that waits could be started: reject what never can be."""
        for request in list(self.waiting):
            whole = self.limits.blocks_for(num_tokens(request))
            if whole > step.engine.num_blocks and not request.num_generated_tokens:
                self.reject(step, request, Reason.LENGTH, None)

    def prefill_budget(self, step: Step) -> int:
        """Prompt tokens that a step may take beside what it holds already."""
        return step.tokens_left

    # The contract.

    @property
    def num_waiting(self) -> int:
        """Requests that wait."""
        return len(self.waiting) + len(self._arrived) + len(self._preempted)

    @property
    def num_running(self) -> int:
        """Requests that run."""
        return len(self.running)

    def arrive(self, request: RequestView) -> None:
        """A new request waits."""
        self._arrived.append(request)

    def leave(self, request: RequestView) -> None:
        """A request ended or was cancelled."""
        if self.running.remove(request) is not None:
            self.ended(request)
        elif self.waiting.remove(request) is None:
            for queue in (self._arrived, self._preempted):
                queue[:] = [other for other in queue if other.request_id != request.request_id]

    def requeue(self, request: RequestView) -> None:
        """A running request waits again."""
        if self.running.remove(request) is not None:
            self.ended(request)
            self.waiting.add(request)

    def decide(self, engine: EngineView) -> Decision:
        """The next step."""
        step = Step(self.limits, engine, len(self.running))
        self.running.turn()
        self._take_in(step)
        self.refuse(step)
        if self.mixed:
            self._decode(step)
            self._prefill(step)
        else:
            self._prefill(step)
            if not step.decision.tokens:
                self._decode(step)
        if not step.decision.tokens:
            self._unblock(step)
        return step.decision

    # What subclasses are told and may do.

    def started(self, request: RequestView) -> None:
        """A waiting request was admitted."""

    def ended(self, request: RequestView) -> None:
        """A running request left or was preempted."""

    def reject(
        self, step: Step, request: RequestView, reason: Reason, retry_after_s: float | None
    ) -> None:
        """Refuse a waiting request that was given no token yet."""
        assert not request.num_generated_tokens, "promised: who was given a token is kept"
        self.waiting.remove(request)
        step.decision.reject.append(Rejection(request, reason, retry_after_s))

    def reject_late(self, step: Step, late: list[tuple[RequestView, float]]) -> None:
        """Refuse those that miss their TTFT by so many seconds: by then the queue is shorter.

        Who would miss it in an empty engine, too, need not come back.
        """
        for request, late_s in late:
            alone_s = self.latency.prefill_s(num_pending_tokens(request))
            hopeless = request.slo.ttft_s is not None and alone_s > request.slo.ttft_s
            self.reject(step, request, Reason.TTFT, None if hopeless else late_s)

    def queue_s(self) -> float:
        """How long the prompts that wait take to compute, one after another."""
        return float(self.waiting.pending_tokens.sum()) * self.latency.prefill_token_s

    # Filling a step.

    def _unblock(self, step: Step) -> None:
        """Nothing can run: make room if prompts under way lack it, else say no."""
        if step.decision.preempt:
            return
        if self.running:
            self._preempt_last(step)  # the pool shrank
        elif self.waiting:
            self.idle(step)

    def _take_in(self, step: Step) -> None:
        cap = self.limits.max_num_waiting
        for request in self._preempted:
            self.waiting.add(request)
        self._preempted.clear()
        if self.limits.prefix_cache:
            self.waiting.look_again(LOOKED_AT)
        self.fresh = []
        for request in self._arrived:
            if self._is_too_long(request, step.engine.num_blocks):
                step.decision.reject.append(Rejection(request, Reason.LENGTH, None))
            elif cap is not None and len(self.waiting) >= cap:
                step.decision.reject.append(Rejection(request, Reason.QUEUE, self.queue_s()))
            else:
                self.waiting.add(request)
                self.fresh.append(request)
        self._arrived.clear()

    def _is_too_long(self, request: RequestView, num_blocks: int) -> bool:
        longest = request.num_prompt_tokens + request.max_tokens
        cuts = self.limits.chunked_prefill  # without, it must come back whole from a preemption
        return self.limits.blocks_for(longest) > num_blocks or (
            not cuts and longest > self.limits.max_num_batched_tokens
        )

    def _decode(self, step: Step) -> None:
        for request in self.decoders(step):
            if step.decision.preempt and request not in self.running:
                continue  # preempted for one before it
            while not step.run(request, 1):
                victim = self._preempt_last(step)
                if victim is request:
                    break

    def _preempt_last(self, step: Step) -> RequestView:
        victim = self.running[-1]  # decoders come in order: it was not served yet
        step.preempt(victim)
        self.running.remove(victim)
        self.ended(victim)
        self._preempted.append(victim)
        return victim

    def _prefill(self, step: Step) -> None:
        budget = self.prefill_budget(step)
        for request in self.running.prompts:
            count = min(num_pending_tokens(request), budget)
            ran = count > 0 and step.run(request, count)
            budget -= count if ran else 0
            step.reserve_rest(request, count if ran else 0)
        if step.decision.preempt or budget <= 0 or not self.waiting:
            return
        for request in self.admissible(step):
            count = self._first_chunk(request, budget)
            if not count or not step.can_admit(request):
                break
            step.admit(request, count)
            budget -= count
        for request in step.decision.admit:
            self.waiting.remove(request)
            self.running.add(request)
            self.started(request)

    def _first_chunk(self, request: RequestView, budget: int) -> int:
        pending = num_pending_tokens(request)
        if pending <= budget:
            return pending
        fits_a_step = pending <= self.limits.max_num_batched_tokens
        return 0 if fits_a_step and not self.mixed else budget
