"""A step while it is being composed: what it holds, and what is still free."""

from serving.sched.decision import Decision
from serving.sched.engine import EngineView, Limits
from serving.sched.request import RequestView, num_tokens


class Step:
    """Fills a :class:`Decision` and never beyond the limits or the free KV blocks.

    ``seqs_left``, ``tokens_left``, ``free_blocks``: what may still be given out.
    ``reserved_blocks``: those that admissions leave alone, because prompts under way will need them
    in later steps, or what runs may grow into them (the watermark; nothing runs, nothing grows).
    """

    __slots__ = (
        "decision",
        "engine",
        "free_blocks",
        "limits",
        "reserved_blocks",
        "seqs_left",
        "tokens_left",
    )

    def __init__(self, limits: Limits, engine: EngineView, num_running: int) -> None:
        self.limits = limits
        self.engine = engine
        self.decision = Decision()
        self.tokens_left = limits.max_num_batched_tokens
        self.free_blocks = engine.num_free_blocks
        self.seqs_left = limits.max_num_seqs - num_running
        self.reserved_blocks = limits.watermark_blocks if num_running else 0

    def run(self, request: RequestView, count: int) -> bool:
        """Let a running request compute ``count`` tokens; False if KV blocks or tokens lack."""
        end = request.num_computed_tokens + count
        need = -(-end // self.limits.block_size) - request.num_blocks
        if count > self.tokens_left or need > self.free_blocks:
            return False
        if need > 0:
            self.free_blocks -= need
        self.tokens_left -= count
        self.decision.tokens[request.request_id] = count
        return True

    def can_admit(self, request: RequestView) -> bool:
        """Whether all its known tokens find KV blocks that nobody else counts on."""
        need = self.limits.blocks_for(num_tokens(request)) - request.num_blocks
        return self.seqs_left > 0 and need <= self.free_blocks - self.reserved_blocks

    def admit(self, request: RequestView, count: int) -> None:
        """Let a waiting request that :meth:`can_admit` run, computing ``count`` tokens now."""
        whole = self.limits.blocks_for(num_tokens(request))
        if not self.run(request, count):
            raise AssertionError("admitted beyond what was free")
        self.reserved_blocks += whole - self.limits.blocks_for(request.num_computed_tokens + count)
        self.seqs_left -= 1
        self.decision.admit.append(request)

    def reserve_rest(self, request: RequestView, count: int) -> None:
        """Keep KV blocks for what a running prompt has left after ``count`` tokens."""
        done = max(request.num_blocks, self.limits.blocks_for(request.num_computed_tokens + count))
        self.reserved_blocks += max(0, self.limits.blocks_for(num_tokens(request)) - done)

    def preempt(self, request: RequestView) -> None:
        """Take a running request's KV blocks; it must not take part in this step."""
        assert request.request_id not in self.decision.tokens
        self.free_blocks += request.num_private_blocks
        self.seqs_left += 1
        self.decision.preempt.append(request)
