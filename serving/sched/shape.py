"""What a step computes, summed up as far as its duration depends on it."""

from dataclasses import dataclass

from serving.sched.request import RequestView, is_decoding


@dataclass(slots=True)
class StepShape:
    """Sums over a batch; every ``add`` is O(1).

    ``num_decodes``: sequences that decode. ``context_tokens``: sum of their lengths, which
    attention reads. ``prefill_tokens``: tokens of prompts in the step. ``prefill_pairs``: query-key
    pairs of those, the sum of n · (c + n / 2) over chunks of n tokens behind c computed ones.
    """

    num_decodes: int = 0
    context_tokens: int = 0
    prefill_tokens: int = 0
    prefill_pairs: float = 0.0

    def add(self, request: RequestView, num_tokens: int) -> None:
        """Count a request that takes part with so many tokens, before they are computed."""
        computed = request.num_computed_tokens
        if is_decoding(request):
            self.num_decodes += 1
            self.context_tokens += computed + 1
        else:
            self.prefill_tokens += num_tokens
            self.prefill_pairs += num_tokens * (computed + num_tokens / 2)

    @property
    def mean_context(self) -> float:
        """Mean length of the decoding sequences, tokens; 0 without any."""
        return self.context_tokens / self.num_decodes if self.num_decodes else 0.0
