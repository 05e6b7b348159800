"""Bytes that an optimizer takes for itself, by where they lie."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """No more than this until now.

    ``host_nbytes``: masters, moments and waiting gradients of the columns that are the host's.
    ``device_nbytes``: masters and moments of all others, and what comes back from the host.
    """

    host_nbytes: int
    device_nbytes: int
