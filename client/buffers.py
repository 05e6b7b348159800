"""Memory that transfers use again and again: fresh pages cost more than what is done in them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SMALLEST_NBYTES = 8 << 20
"""What a new buffer holds at least, so that it serves most later requests as well."""

KEPT_NBYTES = 128 << 20
"""Free buffers beyond this are dropped."""


class Buffers:
    """Lends out buffers of any size, with whatever the last user left in them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[bytearray] = []
        self._free_nbytes = 0

    @contextmanager
    def lease(self, nbytes: int) -> Iterator[memoryview]:
        """A buffer of ``nbytes``, to be let go of when the block ends."""
        buffer = self._take(nbytes)
        try:
            yield memoryview(buffer)[:nbytes]
        finally:
            self._give_back(buffer)

    def _take(self, nbytes: int) -> bytearray:
        with self._lock:
            for number, buffer in enumerate(self._free):
                if len(buffer) >= nbytes:
                    self._free_nbytes -= len(buffer)
                    return self._free.pop(number)
        return bytearray(max(nbytes, SMALLEST_NBYTES))

    def _give_back(self, buffer: bytearray) -> None:
        with self._lock:
            if self._free_nbytes + len(buffer) <= KEPT_NBYTES:
                self._free.append(buffer)
                self._free_nbytes += len(buffer)
