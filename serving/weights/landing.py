"""Memory that tensors of a shard are put into, where ``client`` expects a file being put together.

Only what overlaps a wanted tensor is kept, so that a layer costs its own bytes and no more.
"""

from collections.abc import Callable, Iterable, Sequence

import torch

from client.plan import PlannedSegment
from serving.weights.checkpoint import Shard
from serving.weights.header import TensorSlot

Allocate = Callable[[int], torch.Tensor]
"""A buffer of so many bytes, aligned for any dtype. Called from several threads."""


def in_memory(nbytes: int) -> torch.Tensor:
    """A buffer of its own."""
    return torch.empty(nbytes, dtype=torch.uint8)


class Landing:
    """Wanted tensors of one shard. A ``Part``, as far as ``client.assembly`` needs one."""

    def __init__(self, shard: Shard, names: Iterable[str], allocate: Allocate) -> None:
        self._slots = [shard.slots[name] for name in names]
        self._buffers = {slot.name: allocate(slot.stop - slot.start) for slot in self._slots}
        self._views = {name: memoryview(each.numpy().data) for name, each in self._buffers.items()}
        wanted = {number for slot in self._slots for number in shard.segments_of(slot)}
        self.done = set(range(len(shard.plan.segments))) - wanted
        """Segments that nothing is missing of."""

    def write(self, start: int, data: memoryview) -> None:
        """Put bytes of the file in place."""
        for slot, low, high in self._overlaps(start, start + len(data)):
            self._views[slot.name][low - slot.start : high - slot.start] = data[
                low - start : high - start
            ]

    def view(self, segment: PlannedSegment) -> memoryview:
        """A segment's bytes; those that no wanted tensor has are nought."""
        data = bytearray(segment.nbytes)
        for slot, low, high in self._overlaps(segment.start, segment.start + segment.nbytes):
            data[low - segment.start : high - segment.start] = self._views[slot.name][
                low - slot.start : high - slot.start
            ]
        return memoryview(data)

    def finish(self, numbers: Sequence[int]) -> None:
        """These segments are in place and checked."""
        self.done.update(numbers)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All wanted tensors, once everything is done."""
        return {
            slot.name: self._buffers[slot.name].view(slot.dtype).view(slot.shape)
            for slot in self._slots
        }

    def _overlaps(self, start: int, stop: int) -> Iterable[tuple[TensorSlot, int, int]]:
        for slot in self._slots:
            low, high = max(slot.start, start), min(slot.stop, stop)
            if low < high:
                yield slot, low, high
