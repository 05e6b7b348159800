"""An engine as policies see it: what it may do in a step, and what is free now."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What never changes while an engine runs.

    ``max_num_seqs``: requests running at once. ``max_num_batched_tokens``: tokens of one step,
    prompts and decodes together, at least ``max_num_seqs``. ``block_size``: tokens of a KV block.
    ``chunked_prefill``: whether a prompt may be computed over several steps; without it a prompt
    longer than a step is refused. ``prefix_cache``: whether what a waiting request will find
    computed changes from step to step, and is cheap to ask for. ``max_num_waiting``: beyond so many
    waiting requests new ones are refused; None: no bound. ``watermark_blocks``: KV blocks that an
    admission leaves free, so that what runs can grow before anybody is preempted.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int = 16
    chunked_prefill: bool = True
    prefix_cache: bool = False
    max_num_waiting: int | None = None
    watermark_blocks: int = 0

    def __post_init__(self) -> None:
        if min(self.max_num_seqs, self.max_num_batched_tokens, self.block_size) < 1:
            raise ValueError("max_num_seqs, max_num_batched_tokens and block_size are at least 1")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must cover a decode of "
                f"max_num_seqs ({self.max_num_seqs})"
            )

    def blocks_for(self, num_tokens: int) -> int:
        """KV blocks that so many tokens take."""
        return -(-num_tokens // self.block_size)


@dataclass(frozen=True, slots=True)
class EngineView:
    """What changes from step to step.

    ``now_s``: seconds on the engine's clock, never falling. ``num_blocks``: KV blocks of the pool,
    which may grow and shrink. ``num_free_blocks``: those that can be had now, evictable ones of the
    prefix cache included.
    """

    now_s: float
    num_free_blocks: int
    num_blocks: int
