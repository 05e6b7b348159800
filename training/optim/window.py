"""A window: gradients of one matrix that wait on the host until they are worked off together."""

from collections.abc import Callable

import torch

from training.optim.adding import TOGETHER, add_up

Room = Callable[[torch.Size], torch.Tensor]
"""Memory for a sum of this shape, in float32."""


class Window:
    """The sum of some gradients, in the masters' type: float32 if theirs is narrower.

    Those of a narrower type are kept as they came and added four at a time, so that a sum is read
    and written once for four. A window of no more than that takes two bytes of bfloat16 for each of
    its gradients, and nothing once it was worked off. Additions are made in the order in which
    gradients came, whenever that is, so that sums are the same bit for bit.

    One thread may :meth:`add` while another does the rest.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.count = 0
        """Gradients that it is the sum of."""
        self._dtype = dtype
        self._sum: torch.Tensor | None = None
        self._kept: list[torch.Tensor] = []
        self._spare: torch.Tensor | None = None
        """Memory of sums, where windows are longer than what is added at a time."""

    def add(self, grads: torch.Tensor) -> bool:
        """One more, which is the window's from now on; whether it is time to :meth:`fold`."""
        self._kept.append(grads)
        self.count += 1
        return len(self._kept) > TOGETHER or grads.dtype == self._dtype

    def fold(self) -> None:
        """Add up the oldest that were kept."""
        self._fold(self._own_room)

    def take(self, room: Room) -> torch.Tensor:
        """The sum of at least one, made in ``room`` if at all; the window is empty afterwards."""
        while self._kept:
            self._fold(room)
        total = self._sum
        assert total is not None
        self._sum, self.count = None, 0
        return total

    def sum(self) -> torch.Tensor | None:
        """For a checkpoint; None if the window is empty."""
        while self._kept:
            self._fold(torch.empty)
        return self._sum

    def load(self, total: torch.Tensor, count: int) -> None:
        """Go on from the sum of so many."""
        self._sum, self.count, self._kept = total, count, []

    def _own_room(self, shape: torch.Size) -> torch.Tensor:
        if self._spare is None:
            self._spare = torch.empty(shape)
        return self._spare

    def _fold(self, room: Room) -> None:
        if self._sum is None and self._kept[0].dtype == self._dtype:
            self._sum = self._kept.pop(0)
        parts = self._kept[:TOGETHER]
        del self._kept[: len(parts)]
        if parts:
            total = room(parts[0].shape) if self._sum is None else self._sum
            add_up(total, parts, is_first=self._sum is None)
            self._sum = total
