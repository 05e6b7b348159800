"""Bytes that cross between device and host, counted where they are sent, and waiting for them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Totals since the optimizer was made.

    With a window of S steps and a share k of the columns chosen, a step moves
    ``(1 - k)(1 + 1/S)`` of the matrices' bytes (ZenFlow, arXiv 2505.12242); changes of ownership
    come on top and are counted apart. ``waited_s``: in which the device was given nothing, since
    gradients were not off it yet or the host was not done with a window.
    """

    to_host_nbytes: int = 0
    to_device_nbytes: int = 0
    selection_nbytes: int = 0
    waited_s: float = 0.0
