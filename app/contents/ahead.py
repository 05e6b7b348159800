"""Reads that run ahead: results in order, a bounded number of them in the making."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


def in_order(
    executor: Executor, calls: Iterable[Callable[[], T]], ahead: int
) -> Generator[T, None, None]:
    """Results of ``calls`` in order, with up to ``ahead`` more of them begun or waiting.

    ``calls`` itself is advanced by the consumer's thread. An exception of a call is raised in its
    place; closing the iterator cancels what was not begun.
    """
    pending: deque[Future[T]] = deque()
    try:
        for call in calls:
            pending.append(executor.submit(call))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
