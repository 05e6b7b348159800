"""The way between a device and the host: copies that run beside what the device computes."""

from typing import Any

import torch


class Link:
    """Copies in both directions at once, each on a stream of its own.

    Made for one thread in each direction, which returns when its copy is there. The same lines run
    on a CPU, where streams and events do nothing and tensors are handed on as they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._module = torch.get_device_module(device)
        self._down, self._up = self._module.Stream(), self._module.Stream()

    def mark(self) -> Any:
        """Where the device is after all that it was given until now, for a copy to wait for."""
        return self._module.current_stream().record_event()

    def to_host(self, tensor: torch.Tensor, mark: Any) -> torch.Tensor:
        """A tensor on the host, which the device has made by ``mark``."""
        with self._module.stream(self._down):
            self._down.wait_event(mark)
            arrived = tensor.to("cpu", non_blocking=True)
            self._wait_for(self._down)
        return arrived

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the device."""
        with self._module.stream(self._up):
            arrived = tensor.to(self.device, non_blocking=True)
            self._wait_for(self._up)
        return arrived

    def seen(self, arrived: torch.Tensor) -> None:
        """The device was given its last work with what came: the memory is free after that."""
        if arrived.is_cuda:
            arrived.record_stream(self._module.current_stream())

    def _wait_for(self, stream: Any) -> None:
        event = self._module.Event()
        event.record(stream)
        event.synchronize()
