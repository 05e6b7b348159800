"""Threads that work for one caller after the other, however much any of them has asked for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from app.callers import Lines

T = TypeVar("T")


class Turns:
    """An executor with a line for each caller, served in rotation (round robin). Thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._lines: Lines[tuple[Future[Any], Callable[[], Any]]] = Lines()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` when it is the turn of the caller that this context is of."""
        future: Future[T] = Future()
        with self._lock:
            self._lines.join((future, work))
        self._executor.submit(self._work_next)
        return future

    def _work_next(self) -> None:
        """Do what is next; there may be nothing, as what was cancelled is passed over."""
        while (taken := self._take()) is not None:
            future, work = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  whoever waits for it is told
                future.set_exception(error)
            else:
                future.set_result(result)
            return

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            return self._lines.call() if self._lines else None
