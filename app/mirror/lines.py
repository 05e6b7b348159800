"""Connections to the upstream that bring one file side by side, each part durable as it comes."""

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Self

from app.errors import HubError, UpstreamDown, UpstreamSlow
from app.mirror.cutting import PartCutter
from app.mirror.order import FetchOrder, Span
from app.mirror.parts import Part
from app.mirror.remote_object import RemoteObject
from app.mirror_settings import Mirror

FRUIT_NBYTES = 64 << 10
FRUITLESS = 3
"""Requests in a row that bring less than that, after which a line gives up."""

PAUSE_S = 0.2

Store = Callable[[int, Iterable[bytes]], Part | None]
"""Makes bytes from an offset on durable; None if there were none."""


class Lines:
    """Threads that fetch what an order says. A context manager: leaving it stops them.

    The first line begins alone; others come once the upstream is seen to send ranges.
    """

    def __init__(
        self, settings: Mirror, order: FetchOrder, remote: RemoteObject, store: Store
    ) -> None:
        self._settings = settings
        self._order = order
        self._remote = remote
        self._store = store
        self._came: queue.SimpleQueue[Part | BaseException] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._sends_ranges = False
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self._start(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def came(self, most_s: float) -> list[Part]:
        """Parts that came since, waiting for one; raises what a line failed with."""
        found: list[Part] = []
        try:
            while True:
                each = self._came.get(timeout=0 if found else most_s)
                if isinstance(each, BaseException):
                    raise each
                found.append(each)
        except queue.Empty:
            return found

    def hurry(self) -> None:
        """Somebody waits for bytes elsewhere: one line more for now, if there are not many."""
        if self._sends_ranges:
            self._start(1, most=2 * self._settings.lines)

    def _start(self, count: int, most: int = 1) -> None:
        with self._lock:
            for _ in range(min(count, most - self._running)):
                thread = threading.Thread(target=self._serve, name="mirror-line", daemon=True)
                self._running += 1
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        fruitless = 0
        try:
            while not self._stopping.is_set() and (span := self._order.take()) is not None:
                nbytes, fault = self._bring(span)
                fruitless = (
                    0 if nbytes >= min(FRUIT_NBYTES, span.stop - span.start) else fruitless + 1
                )
                if fruitless == FRUITLESS:
                    raise fault or UpstreamDown("the upstream sends nothing")
                if fruitless:
                    self._stopping.wait(PAUSE_S * fruitless)
                if self._is_one_too_many():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by those who wait
            self._came.put(error)
        with self._lock:
            self._running -= 1

    def _is_one_too_many(self) -> bool:
        with self._lock:
            if self._running <= self._settings.lines:
                return False
            self._running -= 1
            return True

    def _bring(self, span: Span) -> tuple[int, HubError | None]:
        """Store what one request brings, part by part: how many bytes, and what broke it."""
        settings = self._settings
        at, stop = span.start, span.stop
        try:
            with self._remote.open(span.start, span.stop) as body:
                if body.is_ranged:
                    self._sends_ranges = True
                    self._start(settings.lines, most=settings.lines)
                else:
                    stop = self._order.extend(span)
                cutter = PartCutter(
                    body.chunks,
                    stop - at,
                    most_nbytes=settings.part_nbytes,
                    most_s=settings.part_s,
                    starts_small=span.is_first,
                )
                while not cutter.ended and not self._stopping.is_set():
                    part = self._store(at, cutter.part())
                    if part is not None:
                        at = part.stop
                        self._came.put(part)
            return at - span.start, cutter.fault
        except UpstreamSlow:
            raise
        except UpstreamDown as error:
            return at - span.start, error
        finally:
            if at < stop:
                self._order.give_back(at, stop)
