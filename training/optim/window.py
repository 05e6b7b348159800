"""A window: gradients of one matrix that wait on the host until they are worked off together."""

from collections.abc import Callable, Iterator

import torch

from training.optim.adding import TOGETHER, add_up


class Window:
    """The sum of some gradients, in the masters' type: float32 if theirs is narrower.

    Those of a narrower type are kept as they came and added four at a time, so that a sum is read
    and written once for four, and the last of them not before they are worked off, in a cache's
    worth of memory. A window of no more than that takes two bytes of bfloat16 for each of its
    gradients, and nothing once it was worked off. Additions are made in the order in which
    gradients came, whenever that is, so that sums are the same bit for bit.

    One thread may :meth:`add` while another does the rest.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.count = 0
        """Gradients that it is the sum of."""
        self.most_nbytes = 0
        """The most that it took until now."""
        self._dtype = dtype
        self._sum: torch.Tensor | None = None
        self._kept: list[torch.Tensor] = []
        self._spare: torch.Tensor | None = None
        """Memory of sums, where windows are longer than what is added at a time."""

    def add(self, grads: torch.Tensor) -> bool:
        """One more, which is the window's from now on; whether it is time to :meth:`fold`.

        That may be done later; at most twice ``TOGETHER`` are kept if it is before the next time.
        """
        self._kept.append(grads)
        self.count += 1
        total = self._spare if self._sum is None else self._sum
        kept = (*self._kept, *(() if total is None else (total,)))
        self.most_nbytes = max(self.most_nbytes, sum(each.nbytes for each in kept))
        return grads.dtype == self._dtype or (self.count > 1 and self.count % TOGETHER == 1)

    def fold(self) -> None:
        """Add up the oldest that were kept, if they are as many as are added at a time."""
        if self._kept and (len(self._kept) > TOGETHER or self._kept[0].dtype == self._dtype):
            self._fold(self._own_room)

    def means(self, room: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """The mean gradient in parts: which of its numbers, in the order of memory, and these.

        Each is only there until the next, in ``room``, some float32. Empties the window, of one at
        least.
        """
        while len(self._kept) > TOGETHER or (self._kept and self._kept[0].dtype == self._dtype):
            self._fold(self._own_room)
        total = None if self._sum is None else self._sum.reshape(-1)
        kept = [each.reshape(-1) for each in self._kept]
        length = len(kept[0] if total is None else total)
        for start in range(0, length, len(room)):
            place = slice(start, min(start + len(room), length))
            grads = room[: place.stop - start] if total is None else total[place]
            parts = [each[place] for each in kept]
            add_up(grads, parts, is_first=total is None, divisor=self.count)
            yield place, grads
        self._sum, self._kept, self.count = None, [], 0

    def sum(self) -> torch.Tensor | None:
        """For a checkpoint; None if the window is empty."""
        while self._kept:
            self._fold(torch.empty)
        return self._sum

    def load(self, total: torch.Tensor, count: int) -> None:
        """Go on from the sum of so many."""
        self._sum, self.count, self._kept = total, count, []

    def _fold(self, room: Callable[[torch.Size], torch.Tensor]) -> None:
        if self._sum is None and self._kept[0].dtype == self._dtype:
            self._sum = self._kept.pop(0)
        parts = self._kept[:TOGETHER]
        if parts:
            total = room(parts[0].shape) if self._sum is None else self._sum
            add_up(total, parts, is_first=self._sum is None)
            self._sum = total
            del self._kept[: len(parts)]

    def _own_room(self, shape: torch.Size) -> torch.Tensor:
        if self._spare is None or self._spare.shape != shape:
            self._spare = torch.empty(shape)
        return self._spare
