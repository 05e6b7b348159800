"""Whom work is for, and lines in which who asks for much does not hold up who asks for little."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")

_caller: ContextVar[str] = ContextVar("caller", default="")
""""": the hub itself, as in its jobs."""


@contextmanager
def taking_turns_as(caller: str) -> Iterator[None]:
    """What is done inside waits in this caller's line."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


class Lines(Generic[T]):
    """A line for each caller, served in rotation (round robin). Not thread-safe."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        """In the order of their turns; none is empty."""

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._lines)

    def join(self, each: T) -> None:
        """Wait at the end of the line of the caller that this context is of."""
        self._lines.setdefault(_caller.get(), deque()).append(each)

    def call(self) -> T:
        """What is next, waiting no longer. Raises StopIteration if nothing waits."""
        caller = next(iter(self._lines))
        line = self._lines.pop(caller)
        first = line.popleft()
        if line:
            self._lines[caller] = line
        return first

    def leave(self, each: T) -> None:
        """Wait no longer, in the line of the caller that this context is of."""
        line = self._lines[_caller.get()]
        line.remove(each)
        if not line:
            del self._lines[_caller.get()]
