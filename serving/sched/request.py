"""A request as policies see it: what it asked for and how far it is."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Slo:
    """What one request wants, in seconds; None where it wants nothing.

    ``ttft_s``: from arrival to the first token. ``tpot_s``: mean time of every later token, that
    is (end - first token) / (generated tokens - 1); an answer of one token always meets it.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None


class RequestView(Protocol):
    """Read-only view of a request; who runs it changes what stands behind, never a policy.

    A request waits or runs. Waiting, it holds no KV blocks. Running, ``num_computed_tokens`` of its
    prompt and generated tokens have their keys and values in KV blocks; the others are pending: one
    in decode, more in prefill. The step that computes the last pending one yields the next token.
    """

    @property
    def request_id(self) -> str:
        """Unique among all requests that the engine has not forgotten."""
        ...

    @property
    def arrival_s(self) -> float:
        """When it arrived, seconds on the engine's clock."""
        ...

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt, at least 1."""
        ...

    @property
    def num_computed_tokens(self) -> int:
        """Tokens whose keys and values are there; at least one is always left to compute.

        While it waits: those it will find in the prefix cache, or 0 where that is not known.
        """
        ...

    @property
    def num_generated_tokens(self) -> int:
        """Tokens it was given so far; kept by a preemption, which makes them pending again."""
        ...

    @property
    def max_tokens(self) -> int:
        """At most so many tokens are generated, at least 1."""
        ...

    @property
    def predicted_tokens(self) -> int:
        """How many tokens it is expected to generate in all, between 1 and ``max_tokens``."""
        ...

    @property
    def slo(self) -> Slo:
        """Its objectives."""
        ...

    @property
    def priority(self) -> int:
        """Lower is more urgent; 0 unless it asked for something else."""
        ...

    @property
    def first_token_s(self) -> float | None:
        """When its first token was given, seconds on the engine's clock."""
        ...

    @property
    def num_blocks(self) -> int:
        """KV blocks it holds, shared ones included.

        While it waits: those it will share with requests that hold them, or 0 where that is not
        known.
        """
        ...

    @property
    def num_private_blocks(self) -> int:
        """KV blocks that become free when it is preempted: those it shares with nobody."""
        ...


def num_tokens(request: RequestView) -> int:
    """Tokens known so far: prompt and generated ones."""
    return request.num_prompt_tokens + request.num_generated_tokens


def num_tokens_at_end(request: RequestView) -> int:
    """Tokens that it is expected to end with, or those it has already."""
    return request.num_prompt_tokens + max(request.predicted_tokens, request.num_generated_tokens)


def num_pending_tokens(request: RequestView) -> int:
    """Tokens to compute before it is given another one, at least 1."""
    return request.num_prompt_tokens + request.num_generated_tokens - request.num_computed_tokens


def is_decoding(request: RequestView) -> bool:
    """Whether its next step is a decode: all tokens but the last generated one are computed."""
    return request.num_generated_tokens > 0 and num_pending_tokens(request) == 1
