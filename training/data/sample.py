"""One sequence to train on: tokens, and which of them are to be learnt."""

from dataclasses import dataclass
from functools import cached_property

import torch

from training.sched.shape import SequenceShape


@dataclass(frozen=True)
class Sample:
    """``tokens [n]`` int64; ``is_target [n]`` bool: tokens that the loss counts.

    A token is foretold from those before it, so the first one never counts.
    """

    tokens: torch.Tensor
    is_target: torch.Tensor

    def __len__(self) -> int:
        return self.tokens.numel()

    @cached_property
    def places(self) -> torch.Tensor:
        """Positions whose next token counts, ascending."""
        return self.is_target[1:].nonzero()[:, 0]

    @property
    def targets(self) -> torch.Tensor:
        """The token to be foretold at each of the places."""
        return self.tokens[self.places + 1]

    def shape(self, per_token_nbytes: int = 0) -> SequenceShape:
        """What it adds to a batch, over an adapter that keeps so much for each token."""
        places = self.places
        if not len(places):
            return SequenceShape(len(self), 0, 0, 0, per_token_nbytes)
        first, last = int(places[0]), int(places[-1])
        return SequenceShape(len(self), first, last, len(places), per_token_nbytes)
