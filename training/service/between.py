"""Work on the model that other threads ask for, done between two steps."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Between:
    """A call from another thread waits until the thread that trains has done what it asks for.

    Whoever still waits when it is left gets concurrent.futures.CancelledError.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        self.serve()

    def __call__(self, work: Callable[[], T], /) -> T:
        """The result of ``work``; raises what that raises."""
        future: Future[T] = Future()
        self._asked.put((future, work))
        if self._is_over:
            self.serve()
        return future.result()

    def serve(self) -> None:
        """Do what was asked for. By the thread that trains."""
        while True:
            try:
                future, work = self._asked.get_nowait()
            except Empty:
                return
            if self._is_over:
                future.cancel()
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                future.set_exception(error)
