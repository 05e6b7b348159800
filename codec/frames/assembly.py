"""A frame in memory, put together while its blocks are being encoded."""

import io
import threading

import numpy as np

from codec.buffers import byte_view
from codec.machine.pages import ask_for_huge_pages


class Assembly:
    """Blocks from any thread and in any order, each copied as soon as those before it are here.

    So the copy costs no time at the end, when one thread would make it alone, and no block is held
    longer than it has to be. Room for ``most_nbytes`` of blocks is reserved; the system gives
    memory to what is filled of it.
    """

    def __init__(self, head_nbytes: int, most_nbytes: int) -> None:
        self._room = io.BytesIO(bytes(head_nbytes + most_nbytes))
        self._bytes = np.frombuffer(self._room.getbuffer(), np.uint8)
        ask_for_huge_pages(self._bytes)
        self._lock = threading.Lock()
        self._early: dict[int, bytes] = {}
        self._next = 0
        self._end = head_nbytes

    def put(self, index: int, block: bytes) -> None:
        """Block number ``index``, once."""
        for start, ready in self._placed(index, block):  # NumPy copies while other threads run
            self._bytes[start : start + len(ready)] = byte_view(ready)

    def finish(self, head: bytes) -> bytes:
        """The frame, once all blocks were put; ``head`` is as long as was said."""
        self._bytes[: len(head)] = byte_view(head)
        del self._bytes
        self._room.truncate(self._end)
        return self._room.getvalue()

    def _placed(self, index: int, block: bytes) -> list[tuple[int, bytes]]:
        placed: list[tuple[int, bytes]] = []
        with self._lock:
            self._early[index] = block
            while (ready := self._early.pop(self._next, None)) is not None:
                placed.append((self._end, ready))
                self._end += len(ready)
                self._next += 1
        return placed
