"""What a step computes, summed up as far as its duration depends on it."""

from dataclasses import dataclass

from serving.sched.request import RequestView, is_decoding


@dataclass(slots=True)
class StepShape:
    """Sums over a batch; every ``add`` is O(1).

    ``num_decodes``: sequences that decode. ``context_tokens``: sum of their lengths, which
    attention reads. ``prefill_tokens``: tokens of prompts in the step. Query-key pairs of those,
    over chunks of n tokens behind c computed ones: ``pairs_within``, the sum of n² / 2, and
    ``pairs_behind``, the sum of n · c, which is what cutting prompts costs.
    """

    num_decodes: int = 0
    context_tokens: int = 0
    prefill_tokens: int = 0
    pairs_within: float = 0.0
    pairs_behind: int = 0

    def add(self, request: RequestView, num_tokens: int) -> None:
        """Count a request that takes part with so many tokens, before they are computed."""
        computed = request.num_computed_tokens
        if is_decoding(request):
            self.add_decode(computed + 1)
        else:
            self.add_prefill(num_tokens, computed)

    def add_decode(self, length: int) -> None:
        """Count a sequence of so many tokens that decodes."""
        self.num_decodes += 1
        self.context_tokens += length

    def add_prefill(self, num_tokens: int, computed: int) -> None:
        """Count a chunk of so many tokens behind ``computed`` ones."""
        self.prefill_tokens += num_tokens
        self.pairs_within += num_tokens * num_tokens / 2
        self.pairs_behind += num_tokens * computed

    @property
    def mean_context(self) -> float:
        """Mean length of the decoding sequences, tokens; 0 without any."""
        return self.context_tokens / self.num_decodes if self.num_decodes else 0.0

    @property
    def is_mixed(self) -> bool:
        """Whether prompts are computed beside decodes."""
        return bool(self.num_decodes and self.prefill_tokens)
