"""Bytes that cross between device and host, counted where they are sent."""

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Totals since the optimizer was made.

    With a window of S steps and a share k of the columns chosen, a step moves
    ``(1 - k)(1 + 1/S)`` of the matrices' bytes (ZenFlow, arXiv 2505.12242); changes of ownership
    come on top and are counted apart.
    """

    to_host_nbytes: int = 0
    to_device_nbytes: int = 0
    selection_nbytes: int = 0
