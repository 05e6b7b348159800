"""Which bytes of a file to ask for next: where somebody reads first, each byte once."""

import threading
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

MOST_READS = 64
"""Reads that are remembered; of more, the oldest are served in their turn."""

GRID_NBYTES = 1 << 20
"""Requests begin at multiples of this, so that reads of a few bytes do not make tiny parts."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``[start, stop)`` to ask for in one request."""

    start: int
    stop: int
    is_first: bool
    """Whether somebody waits for its beginning, as far as we know."""


class FetchOrder:
    """The bytes of one file that are neither here nor on their way. Thread-safe.

    Reads are followed in turn, each from where it began to where it ends, so that all go on; what
    nobody asked for comes after them, from the beginning of the file.
    """

    def __init__(
        self, nbytes: int, present: Iterable[tuple[int, int]], *, span_nbytes: int
    ) -> None:
        """``present``: what is here, disjoint ``[start, stop)`` in order."""
        self._nbytes = nbytes
        self._span_nbytes = span_nbytes
        self._lock = threading.Lock()
        self._free: list[tuple[int, int]] = []
        self._reads: deque[tuple[int, int, bool]] = deque(maxlen=MOST_READS)
        at = 0
        for start, stop in present:
            if start > at:
                self._free.append((at, start))
            at = stop
        if at < nbytes:
            self._free.append((at, nbytes))

    def follow(self, start: int, stop: int) -> bool:
        """Somebody reads ``[start, stop)``; whether any of it has to be asked for."""
        with self._lock:
            is_lacking = self._find(start, stop) is not None
            if is_lacking:
                self._reads.append((start, stop, True))
            return is_lacking

    def take(self) -> Span | None:
        """What to ask for now; None if there is nothing left that nobody is bringing."""
        with self._lock:
            for _ in range(len(self._reads)):
                at, stop, is_first = self._reads.popleft()
                span = self._take(at, stop, is_first=is_first)
                if span is not None:
                    if span.stop < stop:
                        self._reads.append((span.stop, stop, False))
                    return span
            return self._take(0, self._nbytes, is_first=False)

    def extend(self, span: Span) -> int:
        """Take what follows a span as well, as far as it is free; returns where that ends."""
        with self._lock:
            for place, (start, stop) in enumerate(self._free):
                if start == span.stop:
                    del self._free[place]
                    return stop
            return span.stop

    def give_back(self, start: int, stop: int) -> None:
        """Bytes that were taken and did not come."""
        with self._lock:
            insort(self._free, (start, stop))
            joined: list[tuple[int, int]] = []
            for each in self._free:
                if joined and joined[-1][1] == each[0]:
                    joined[-1] = (joined[-1][0], each[1])
                else:
                    joined.append(each)
            self._free = joined

    def _find(self, at: int, stop: int) -> int | None:
        """Index of the first free stretch that has bytes of ``[at, stop)``."""
        for place, (free_start, free_stop) in enumerate(self._free):
            if free_stop > at:
                return place if free_start < stop else None
        return None

    def _take(self, at: int, stop: int, *, is_first: bool) -> Span | None:
        place = self._find(at, stop)
        if place is None:
            return None
        free_start, free_stop = self._free[place]
        start = max(free_start, at - at % min(GRID_NBYTES, self._span_nbytes))
        end = min(start + self._span_nbytes, free_stop)
        left = [(free_start, start), (end, free_stop)]
        self._free[place : place + 1] = [each for each in left if each[0] < each[1]]
        return Span(start, end, is_first)
