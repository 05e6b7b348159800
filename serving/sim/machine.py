"""The engine of the simulator: carries decisions out to the letter and checks every promise."""

from serving.sched.decision import Decision
from serving.sched.engine import EngineView, Limits
from serving.sched.shape import StepShape
from serving.sim.request import SimRequest


class PromiseBroken(AssertionError):
    """A policy decided what its contract forbids: a bug in the policy."""


class Machine:
    """Requests, a pool of KV blocks, and nothing that could surprise a policy."""

    def __init__(self, limits: Limits, num_blocks: int) -> None:
        self.limits = limits
        self.num_blocks = num_blocks
        self.num_free_blocks = num_blocks
        self.waiting: dict[str, SimRequest] = {}
        self.running: dict[str, SimRequest] = {}
        self._step: list[tuple[SimRequest, int]] = []

    def view(self, now_s: float) -> EngineView:
        """What a policy is shown."""
        return EngineView(now_s, self.num_free_blocks, self.num_blocks)

    def arrive(self, request: SimRequest) -> None:
        """A request waits."""
        self.waiting[request.request_id] = request

    def start_step(self, decision: Decision, now_s: float) -> StepShape:
        """Carry a decision out up to the forward pass; what that will compute.

        Raises:
            PromiseBroken: the decision breaks :class:`serving.sched.policy.Policy`'s contract.
        """
        for rejection in decision.reject:
            request = self._take(self.waiting, rejection.request.request_id, "reject")
            _promise(request.num_generated_tokens == 0, "rejected after its first token")
            request.rejection, request.end_s = rejection, now_s
        for view in decision.preempt:
            request = self._take(self.running, view.request_id, "preempt")
            _promise(view.request_id not in decision.tokens, "preempted and run in one step")
            self._free(request)
            request.num_computed_tokens = 0
            request.num_preemptions += 1
            self.waiting[request.request_id] = request
        for view in decision.admit:
            _promise(view.request_id in decision.tokens, "admitted without a token to compute")
            self.running[view.request_id] = self._take(self.waiting, view.request_id, "admit")
        _promise(len(self.running) <= self.limits.max_num_seqs, "more requests than max_num_seqs")
        _promise(
            sum(decision.tokens.values()) <= self.limits.max_num_batched_tokens,
            "more tokens than max_num_batched_tokens",
        )
        shape = StepShape()
        self._step = []
        for request_id, count in decision.tokens.items():
            _promise(request_id in self.running, "runs a request that does not run")
            request = self.running[request_id]
            self._allocate(request, count)
            shape.add(request, count)
            self._step.append((request, count))
        return shape

    def end_step(self, now_s: float) -> list[SimRequest]:
        """The forward pass is done: tokens are given; who ended with that, KV blocks returned."""
        ended = []
        for request, count in self._step:
            request.num_computed_tokens += count
            known = request.num_prompt_tokens + request.num_generated_tokens
            if request.num_computed_tokens < known:
                continue
            request.give_token(now_s)
            if request.is_finished:
                del self.running[request.request_id]
                self._free(request)
                ended.append(request)
        self._step = []
        return ended

    def _allocate(self, request: SimRequest, count: int) -> None:
        known = request.num_prompt_tokens + request.num_generated_tokens
        pending = known - request.num_computed_tokens
        _promise(0 < count <= pending, f"{count} tokens of {pending} pending")
        _promise(count == pending or self.limits.chunked_prefill, "cut what cannot be cut")
        need = self.limits.blocks_for(request.num_computed_tokens + count) - request.num_blocks
        if need > 0:
            _promise(need <= self.num_free_blocks, "more KV blocks than are free")
            self.num_free_blocks -= need
            request.num_blocks += need

    def _free(self, request: SimRequest) -> None:
        self.num_free_blocks += request.num_blocks
        request.num_blocks = 0

    @staticmethod
    def _take(where: dict[str, SimRequest], request_id: str, verb: str) -> SimRequest:
        request = where.pop(request_id, None)
        if request is None:
            raise PromiseBroken(f"{verb} of {request_id}, which is not there")
        return request


def _promise(kept: bool, broken: str) -> None:
    if not kept:
        raise PromiseBroken(broken)
