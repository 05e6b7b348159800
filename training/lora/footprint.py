"""What a step takes of the memory at its peak."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class PeakBytes(TorchDispatchMode):
    """Counts, while it is entered, the bytes of all tensors that are made and alive at once.

    Storages that are shared count once, those from before not at all. What the allocator adds, and
    what kernels take for themselves, is not seen. ``limit_nbytes``: whoever would go beyond gets
    torch.OutOfMemoryError, as from a device that has no more.
    """

    def __init__(self, limit_nbytes: int | None = None) -> None:
        super().__init__()
        self.nbytes = 0
        """The most that were alive at once."""
        self.refused = 0
        """Allocations that went beyond the limit."""
        self._limit_nbytes = limit_nbytes
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._now_nbytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at what it is given and gives."""
        given = kwargs or {}
        for each in tree_leaves((args, given)):
            self._meet(each, is_new=False)
        made = func(*args, **given)
        for each in tree_leaves(made):
            self._meet(each, is_new=True)
        return made

    def _meet(self, tensor: Any, *, is_new: bool) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        nbytes = storage.nbytes() if is_new else 0
        if self._limit_nbytes is not None and self._now_nbytes + nbytes > self._limit_nbytes:
            self.refused += 1
            raise torch.OutOfMemoryError(
                f"out of memory: {nbytes} bytes more than the limit allows"
            )
        self._alive[key] = weakref.ref(storage, lambda _: self._gone(key, nbytes))
        self._now_nbytes += nbytes
        self.nbytes = max(self.nbytes, self._now_nbytes)

    def _gone(self, key: int, nbytes: int) -> None:
        self._alive.pop(key, None)
        self._now_nbytes -= nbytes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in OUT_OF_MEMORY)
