"""A request of vLLM's as policies see it."""

from collections.abc import Callable
from typing import Any

from serving.sched.length import LengthPredictor, clamped
from serving.sched.request import Slo


class RequestOfVllm:
    """What stands behind is vLLM's ``Request``; a ``RequestView`` of ``serving.sched``.

    vLLM runs ahead of its GPU: tokens that a step has been asked for count as given, for what is
    scheduled next depends on them.
    """

    def __init__(
        self,
        request: Any,
        *,
        arrival_s: float,
        slo: Slo,
        lengths: LengthPredictor,
        block_size: int,
        num_cached_tokens: Callable[[Any], int],
        num_private_blocks: Callable[[Any], int],
    ) -> None:
        self.request = request
        self.request_id: str = request.request_id
        self.arrival_s = arrival_s
        self.slo = slo
        self.priority: int = request.priority
        self.num_prompt_tokens: int = request.num_prompt_tokens
        self.max_tokens: int = max(1, request.max_tokens)
        adapter = request.lora_request
        self.group: str = adapter.lora_name if adapter is not None else ""
        expected = lengths.predict(self.num_prompt_tokens, self.max_tokens, self.group)
        self.predicted_tokens = clamped(expected, self.max_tokens)
        self.first_token_s: float | None = None
        """When it came, or when it was asked for as long as it has not."""
        self._block_size = block_size
        self._num_cached_tokens = num_cached_tokens
        self._num_private_blocks = num_private_blocks

    @property
    def is_running(self) -> bool:
        """Whether it holds KV blocks."""
        return self.request.num_computed_tokens > 0

    @property
    def num_computed_tokens(self) -> int:
        """Tokens whose keys and values are there, or will be found, or were asked for."""
        if self.is_running:
            return self.request.num_computed_tokens
        return self._num_cached_tokens(self.request)

    @property
    def num_generated_tokens(self) -> int:
        """Tokens it was given or that a step was asked for."""
        given = self.request.num_output_tokens + self.request.num_output_placeholders
        # Preempted before its first one came, it still gets that one.
        return max(given, 1) if self.first_token_s is not None else given

    @property
    def num_blocks(self) -> int:
        """KV blocks it holds."""
        return -(-self.request.num_computed_tokens // self._block_size)

    @property
    def num_private_blocks(self) -> int:
        """KV blocks that nobody else holds."""
        return self._num_private_blocks(self.request) if self.is_running else 0
