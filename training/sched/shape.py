"""What a batch costs, in numbers that do not depend on the machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

MULTIPLE = 8
"""Padded rows are a multiple of so many tokens long."""


class Layout(Enum):
    """How sequences lie in a batch."""

    PADDED = "padded"
    """A row each, filled up at the right; what fills is never seen, attention being causal."""
    PACKED = "packed"
    """One after the other in a single row; every sequence attends to itself alone."""


@dataclass(frozen=True, slots=True)
class SequenceShape:
    """A sequence: its tokens, and the first and last place with a target, and how many there are.

    ``per_token_nbytes``: what its job's adapter keeps for each token until the backward pass.
    """

    tokens: int
    first: int
    last: int
    targets: int
    per_token_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class BatchShape:
    """A batch as it is computed, padding included.

    ``squares``: sum of squared lengths, what attention may keep. ``logits``: rows of logits, of
    which ``targets`` are wanted. ``adapters_nbytes``: what the adapters keep for real tokens.
    ``real``: tokens without padding.
    """

    tokens: int
    squares: int
    logits: int
    targets: int
    adapters_nbytes: int
    real: int

    @property
    def padding(self) -> float:
        """Share of the tokens that only fill up."""
        return 1 - self.real / self.tokens if self.tokens else 0.0


def padded_width(lengths: Iterable[int]) -> int:
    """Tokens of a row that holds the longest."""
    return -(-max(lengths) // MULTIPLE) * MULTIPLE


def shape_of(sequences: Sequence[SequenceShape], layout: Layout) -> BatchShape:
    """The shape of a batch of at least one sequence."""
    real = sum(each.tokens for each in sequences)
    adapters = sum(each.tokens * each.per_token_nbytes for each in sequences)
    targets = sum(each.targets for each in sequences)
    if layout is Layout.PACKED:
        squares = sum(each.tokens**2 for each in sequences)
        return BatchShape(real, squares, targets, targets, adapters, real)
    width = padded_width(each.tokens for each in sequences)
    kept = max(each.last for each in sequences) + 1 - min(each.first for each in sequences)
    count = len(sequences)
    return BatchShape(count * width, count * width**2, count * kept, targets, adapters, real)
