"""A request on its way through a simulated engine."""

from dataclasses import dataclass, field

from serving.engine.blocks import BlockPool
from serving.sched.decision import Rejection
from serving.sched.request import Slo


@dataclass(slots=True, kw_only=True)
class SimRequest:
    """A request view whose future is known: it ends after ``num_output_tokens``.

    ``slo_class``: what its objectives are called. ``prefix``: names of the first KV blocks of its
    prompt. ``pool``: where it has its KV blocks, as long as it runs. ``max_gap_s``: the longest
    wait between two of its tokens. ``end_s``: when its last token was given or it was rejected.
    Times in seconds on the virtual clock.
    """

    request_id: str
    arrival_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    max_tokens: int
    predicted_tokens: int
    slo: Slo
    slo_class: str = ""
    priority: int = 0
    num_computed_tokens: int = 0
    num_generated_tokens: int = 0
    num_blocks: int = 0
    prefix: tuple[bytes, ...] = ()
    blocks: list[int] = field(default_factory=list)
    pool: BlockPool | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    max_gap_s: float = 0.0
    num_preemptions: int = 0
    end_s: float | None = None
    rejection: Rejection | None = None

    @property
    def num_private_blocks(self) -> int:
        """Its KV blocks that nobody else holds."""
        return self.num_blocks if self.pool is None else self.pool.num_private(self.blocks)

    @property
    def ttft_s(self) -> float | None:
        """From arrival to first token."""
        return None if self.first_token_s is None else self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time of the tokens behind the first; 0 for an answer of one."""
        if self.first_token_s is None or self.end_s is None or self.rejection is not None:
            return None
        later = self.num_output_tokens - 1
        return (self.end_s - self.first_token_s) / later if later else 0.0

    @property
    def meets_ttft(self) -> bool:
        """Whether its first token came in time."""
        ttft_s = self.ttft_s
        return ttft_s is not None and (self.slo.ttft_s is None or ttft_s <= self.slo.ttft_s)

    @property
    def meets_tpot(self) -> bool:
        """Whether it ended, and its tokens came fast enough."""
        tpot_s = self.tpot_s
        return tpot_s is not None and (self.slo.tpot_s is None or tpot_s <= self.slo.tpot_s)

    @property
    def is_good(self) -> bool:
        """Whether it ended with both objectives met."""
        return self.meets_ttft and self.meets_tpot

    def give_token(self, now_s: float) -> None:
        """One more token at this time."""
        self.num_generated_tokens += 1
        if self.first_token_s is None:
            self.first_token_s = now_s
        elif self.last_token_s is not None and now_s - self.last_token_s > self.max_gap_s:
            self.max_gap_s = now_s - self.last_token_s
        self.last_token_s = now_s
        if self.num_generated_tokens >= self.num_output_tokens:
            self.end_s = now_s
