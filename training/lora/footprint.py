"""What a forward pass keeps in memory until the backward pass has used it."""

from types import TracebackType
from typing import Self

import torch
from torch.autograd.graph import saved_tensors_hooks

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class KeptBytes:
    """Counts, while it is entered, the storages that autograd keeps; shared ones once.

    Of the model's own weights nothing is counted: they are there anyway. What the allocator adds,
    and what kernels need for a moment, is not seen.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.nbytes = 0
        self._seen = {each.untyped_storage().data_ptr() for each in model.parameters()}
        self._hooks = saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.__exit__(kind, error, trace)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.nbytes += storage.nbytes()
        return tensor


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in OUT_OF_MEMORY)
