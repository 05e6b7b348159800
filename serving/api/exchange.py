"""The choices of one HTTP request, and what the engine tells of each as it comes."""

import asyncio
from collections.abc import AsyncIterator

from serving.api.errors import ApiError, refusal
from serving.api.slo import Timing
from serving.engine.output import Event, Failed, Refused, TokenOutput


class Exchange:
    """The choices of one HTTP request, and their events as they come."""

    def __init__(self, timings: list[Timing]) -> None:
        self.timings = timings
        self.cached_tokens = [0] * len(timings)
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._early: list[tuple[int, TokenOutput]] = []
        self._open = set(range(len(timings)))

    def put(self, choice: int, event: Event) -> None:
        """From the service."""
        self._events.put_nowait((choice, event))

    async def begin(self) -> None:
        """Wait until every choice has its first token, so that a refusal comes before anything.

        Raises ApiError.
        """
        missing = set(self._open)
        while missing:
            choice, output = await self._next()
            missing.discard(choice)
            self._early.append((choice, output))

    async def outputs(self) -> AsyncIterator[tuple[int, TokenOutput]]:
        """All tokens of all choices. Raises ApiError."""
        for each in self._early:
            yield each
        self._early = []
        while self._open:
            yield await self._next()

    async def _next(self) -> tuple[int, TokenOutput]:
        choice, event = await self._events.get()
        if isinstance(event, Refused):
            raise refusal(event)
        if isinstance(event, Failed):
            raise ApiError(500, event.message, code="engine_error")
        if event.finish is not None:
            self._open.discard(choice)
        return choice, event
