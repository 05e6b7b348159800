"""The threads that fetch and decode, shared by all downloads of a process, and their memory."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import TypeVar

from app.restore.turns import Turns

T = TypeVar("T")

BUDGET_NBYTES = 128 << 20
"""Decoded bytes that all downloads of a process may hold ahead of their clients."""

MIN_WINDOW_NBYTES = 2 << 20
"""What each download may hold however many there are: two items of the smallest kind."""


class RestorePool:
    """A bounded thread pool and the memory of the downloads that share it. Thread-safe."""

    def __init__(self, threads: int) -> None:
        self._turns = Turns(threads, "restore")
        self._lock = threading.Lock()
        self._readers = 0
        self._held_nbytes = 0

    @property
    def readers(self) -> int:
        """Downloads in progress."""
        return self._readers

    @property
    def held_nbytes(self) -> int:
        """Decoded bytes, or bytes being decoded, of all downloads."""
        return self._held_nbytes

    def enter(self) -> None:
        """Count a download in."""
        with self._lock:
            self._readers += 1

    def leave(self) -> None:
        """Count a download out."""
        with self._lock:
            self._readers -= 1

    def window(self, most_nbytes: int) -> int:
        """What one download may hold: its share of the budget, ``most_nbytes`` at most."""
        share = BUDGET_NBYTES // max(1, self._readers)
        return min(most_nbytes, max(share, MIN_WINDOW_NBYTES))

    def hold(self, nbytes: int, *, window: int, held: int) -> bool:
        """Take ``nbytes`` more for a download that has ``held``; False if it has to wait.

        A first item is always granted, and of its window the smallest: every download moves on.
        """
        with self._lock:
            room = self._held_nbytes + nbytes <= BUDGET_NBYTES
            within = held + nbytes <= window and (room or held + nbytes <= MIN_WINDOW_NBYTES)
            if held and not within:
                return False
            self._held_nbytes += nbytes
            return True

    def release(self, nbytes: int) -> None:
        """Give back what :meth:`hold` took."""
        with self._lock:
            self._held_nbytes -= nbytes

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` on one of the threads, when it is its caller's turn."""
        return self._turns.submit(work)


@cache
def shared_pool(threads: int) -> RestorePool:
    """The pool of this process."""
    return RestorePool(threads)
