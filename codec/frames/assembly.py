"""A frame in memory, put together while its blocks are being encoded."""

import io
import threading


class Assembly:
    """Blocks from any thread and in any order, each copied as soon as those before it are here.

    So the copy costs no time at the end, when one thread would make it alone, and no block is held
    longer than it has to be.
    """

    def __init__(self, head_nbytes: int) -> None:
        self._room = io.BytesIO()
        self._room.seek(head_nbytes)
        self._lock = threading.Lock()
        self._early: dict[int, bytes] = {}
        self._next = 0

    def put(self, index: int, block: bytes) -> None:
        """Block number ``index``, once."""
        with self._lock:
            self._early[index] = block
            while (ready := self._early.pop(self._next, None)) is not None:
                self._room.write(ready)
                self._next += 1

    def finish(self, head: bytes) -> bytes:
        """The frame, once all blocks were put; ``head`` is as long as was said."""
        self._room.seek(0)
        self._room.write(head)
        return self._room.getvalue()
