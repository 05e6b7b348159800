"""SHA-256 of a file while its parts arrive in any order: the complete prefix is hashed as it grows.

SHA-256 is the slowest step on the way; on a thread of its own it is over soon after the last byte.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence

from client.plan import PlannedSegment

STEP_NBYTES = 8 << 20


class PrefixDigest:
    """Hashes ``data`` behind those who fill it. Thread-safe."""

    def __init__(self, data: memoryview, segments: Sequence[PlannedSegment]) -> None:
        self._data = data
        self._segments = segments
        self._changed = threading.Condition()
        self._done: set[int] = set()
        self._next = 0
        self._stopped = False
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._follow, name="sha256", daemon=True)
        self._thread.start()

    def finish(self, numbers: Iterable[int]) -> None:
        """These segments are in place and will not change."""
        with self._changed:
            self._done.update(numbers)
            while self._next in self._done:
                self._done.remove(self._next)
                self._next += 1
            self._changed.notify()

    def result(self) -> bytes:
        """The digest of the whole file, once all segments are finished."""
        self._thread.join()
        return self._digest.digest()

    def stop(self) -> None:
        """Give up and let go of the data. Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        hashed = 0
        while hashed < len(self._data):
            with self._changed:
                self._changed.wait_for(lambda at=hashed: self._stopped or self._ready() > at)
                if self._stopped:
                    return
                ready = self._ready()
            stop = min(ready, hashed + STEP_NBYTES)
            self._digest.update(self._data[hashed:stop])
            hashed = stop

    def _ready(self) -> int:
        """Length of the complete prefix."""
        if self._next == len(self._segments):
            return len(self._data)
        return self._segments[self._next].start
