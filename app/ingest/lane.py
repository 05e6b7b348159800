"""A thread that consumes a stream beside others, with a short queue in front of it."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Self

DEPTH = 4
"""Buffers waiting in front of a lane."""

BUFFER_NBYTES = 1 << 20
"""Small chunks are joined up to this size, long ones passed on as they are."""

SLICE_NBYTES = 4 << 20
"""Long chunks are passed on in slices of this size, so that lanes overlap."""


class Lane:
    """Feeds every buffer pushed to ``consume``, in order, on a thread of its own.

    An exception of ``consume`` ends its work and is raised by the next :meth:`push` or by
    :meth:`finish`; the lane keeps emptying its queue, so a producer never blocks for ever. A
    context manager: leaving it stops the thread.
    """

    def __init__(self, name: str, consume: Callable[[memoryview], None]) -> None:
        self._consume = consume
        self._queue: queue.Queue[memoryview | None] = queue.Queue(DEPTH)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled = True
        self._join()

    def push(self, buffer: memoryview) -> None:
        """Hand a buffer over; waits while the queue is full. It must not change afterwards."""
        if self._error is not None:
            raise self._error
        self._queue.put(buffer)

    def finish(self) -> None:
        """Wait until everything pushed is consumed."""
        self._join()
        if self._error is not None:
            raise self._error

    def _join(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (buffer := self._queue.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    self._consume(buffer)
                except BaseException as error:  # noqa: BLE001 - raised again by the producer
                    self._error = error


def regroup(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """The same bytes in buffers of about a MiB: few enough for Python, small enough to overlap."""
    waiting: list[bytes | memoryview] = []
    waiting_nbytes = 0
    for chunk in chunks:
        is_short = len(chunk) < BUFFER_NBYTES // 4
        if is_short:
            waiting.append(chunk)
            waiting_nbytes += len(chunk)
        if waiting_nbytes >= BUFFER_NBYTES or (waiting_nbytes and not is_short):
            yield memoryview(b"".join(waiting))
            waiting, waiting_nbytes = [], 0
        if not is_short:
            view = memoryview(chunk).cast("B")
            for start in range(0, len(view), SLICE_NBYTES):
                yield view[start : start + SLICE_NBYTES]
    if waiting_nbytes:
        yield memoryview(b"".join(waiting))
