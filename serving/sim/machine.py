"""The engine of the simulator: carries decisions out to the letter and checks every promise."""

from serving.engine.blocks import BlockPool
from serving.sched.decision import Decision
from serving.sched.engine import EngineView, Limits
from serving.sched.shape import StepShape
from serving.sim.request import SimRequest


class PromiseBroken(AssertionError):
    """A policy decided what its contract forbids: a bug in the policy."""


class Machine:
    """Requests, the engine's books of KV blocks, and nothing that could surprise a policy."""

    def __init__(self, limits: Limits, num_blocks: int) -> None:
        self.limits = limits
        self.pool = BlockPool(num_blocks)
        self.waiting: dict[str, SimRequest] = {}
        self.running: dict[str, SimRequest] = {}
        self.num_found_tokens = 0
        """Of prompts, over all admissions: what was in the prefix cache."""
        self._step: list[tuple[SimRequest, int]] = []
        self._shares = False
        """Whether anybody has named what its prompt begins with."""

    def view(self, now_s: float) -> EngineView:
        """What a policy is shown; what waits is shown the prefix that it would find."""
        for request in self.waiting.values() if self._shares else ():
            if request.prefix:
                found = self._find(request)
                request.num_computed_tokens = len(found) * self.limits.block_size
                request.num_blocks = self.pool.num_shared(found)
        return EngineView(now_s, self.pool.num_free, self.pool.num_blocks)

    def arrive(self, request: SimRequest) -> None:
        """A request waits."""
        self.waiting[request.request_id] = request
        self._shares = self._shares or bool(request.prefix)

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
            request.num_preemptions += 1
            self.waiting[request.request_id] = request
        for view in decision.admit:
            _promise(view.request_id in decision.tokens, "admitted without a token to compute")
            request = self._take(self.waiting, view.request_id, "admit")
            self._hold_prefix(request)
            self.running[view.request_id] = request
        _promise(len(self.running) <= self.limits.max_num_seqs, "more requests than max_num_seqs")
        _promise(
            sum(decision.tokens.values()) <= self.limits.max_num_batched_tokens,
            "more tokens than max_num_batched_tokens",
        )
        shape = StepShape()
        self._step = [
            (self._allocated(request_id, count, shape), count)
            for request_id, count in decision.tokens.items()
        ]
        return shape

    def end_step(self, now_s: float) -> list[SimRequest]:
        """The forward pass is done: tokens are given; who ended with that, KV blocks returned."""
        ended = []
        for request, count in self._step:
            request.num_computed_tokens += count
            if request.prefix:
                self._name(request, count)
            known = request.num_prompt_tokens + request.num_generated_tokens
            if request.num_computed_tokens < known:
                continue
            request.give_token(now_s)
            if request.end_s is not None:
                del self.running[request.request_id]
                self._free(request)
                ended.append(request)
        self._step = []
        return ended

    def _allocated(self, request_id: str, count: int, shape: StepShape) -> SimRequest:
        """A request with the KV blocks for ``count`` more tokens, counted in the step's shape."""
        request = self.running.get(request_id)
        if request is None:
            raise PromiseBroken(f"runs {request_id}, which does not run")
        computed = request.num_computed_tokens
        pending = request.num_prompt_tokens + request.num_generated_tokens - computed
        if not 0 < count <= pending:
            raise PromiseBroken(f"{count} tokens of {pending} pending")
        if count < pending and not self.limits.chunked_prefill:
            raise PromiseBroken("cut what cannot be cut")
        need = -(-(computed + count) // self.limits.block_size) - request.num_blocks
        if need > 0:
            _promise(need <= self.pool.num_free, "more KV blocks than are free")
            request.blocks += self.pool.allocate(need)
            request.num_blocks += need
        if pending == 1 and request.num_generated_tokens:
            shape.add_decode(computed + 1)
        else:
            shape.add_prefill(count, computed)
        return request

    def _find(self, request: SimRequest) -> list[int]:
        usable = (request.num_prompt_tokens - 1) // self.limits.block_size
        return self.pool.find(request.prefix[:usable])

    def _hold_prefix(self, request: SimRequest) -> None:
        request.pool, request.blocks = self.pool, self._find(request)
        self.pool.hold(request.blocks)
        request.num_blocks = len(request.blocks)
        request.num_computed_tokens = request.num_blocks * self.limits.block_size
        self.num_found_tokens += request.num_computed_tokens

    def _name(self, request: SimRequest, count: int) -> None:
        """What the last ``count`` computed tokens have filled can be found."""
        size = self.limits.block_size
        end = request.num_computed_tokens // size
        start = (request.num_computed_tokens - count) // size
        named = zip(request.blocks[start:end], request.prefix[start:end], strict=False)
        for block, name in named:
            self.pool.name(block, name)

    def _free(self, request: SimRequest) -> None:
        self.pool.release(request.blocks)
        request.pool, request.blocks = None, []
        request.num_computed_tokens = request.num_blocks = 0

    @staticmethod
    def _take(where: dict[str, SimRequest], request_id: str, verb: str) -> SimRequest:
        request = where.pop(request_id, None)
        if request is None:
            raise PromiseBroken(f"{verb} of {request_id}, which is not there")
        return request


def _promise(kept: bool, broken: str) -> None:
    if not kept:
        raise PromiseBroken(broken)
