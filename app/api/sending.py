"""A response whose body is read by blocking code: sent as it comes, dropped when nobody listens."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.restore.reader import ReaderClosed

MAX_WAITING_THREADS = 64
"""Threads that wait for a part; the work itself is done by the pool of ``app.restore``."""

TAIL_NBYTES = 256 << 10
"""The end of a part, sent apart: uvicorn waits for a client with the next piece, not with this."""

_limiter: RunVar[CapacityLimiter] = RunVar("streamed_body_limiter")


class Parts(Protocol):
    """What a body is read from: parts in order, and a way to stop from another thread."""

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)``."""
        ...

    def close(self) -> None:
        """Stop the work; a stream that waits ends with :class:`ReaderClosed`."""
        ...


class StreamedBody(Response):
    """The range ``[start, stop)`` of ``parts`` with an exact Content-Length.

    The first part is read before the status is sent, so early failures get a proper answer. A later
    one leaves the body short and the connection cut: it never ends as if all were well. When the
    client goes away the work stops at once.
    """

    def __init__(
        self,
        parts: Parts,
        start: int,
        stop: int,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Not super().__init__: it renders a body, and this one is never in memory.
        self.status_code = status_code
        self.background = None
        self.init_headers({**(headers or {}), "content-length": str(stop - start)})
        self._parts = parts
        self._range = (start, stop)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; raises what the parts raise."""
        stream = self._parts.stream(*self._range)
        watcher = asyncio.create_task(self._close_on_disconnect(receive))
        try:
            await self._deliver(stream, send)
        except ReaderClosed:
            if not watcher.done():
                raise
        finally:
            watcher.cancel()
            self._parts.close()
            _end(stream)

    async def _deliver(self, stream: Iterator[memoryview], send: Send) -> None:
        part = await _next_part(stream)
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        while part is not None:
            # Only what a client has taken lets the stream decode more.
            for piece in (part[:-TAIL_NBYTES], part[-TAIL_NBYTES:]):
                if piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            del piece
            part = await _next_part(stream)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _close_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._parts.close()


async def _next_part(stream: Iterator[memoryview]) -> memoryview | None:
    return await anyio.to_thread.run_sync(
        next, stream, None, abandon_on_cancel=True, limiter=_waiting_threads()
    )


def _end(stream: Iterator[memoryview]) -> None:
    """Run the stream's clean-up, unless it is on a thread and just being woken to do so."""
    close = getattr(stream, "close", None)
    if close is None:
        return
    try:
        close()
    except ValueError as error:  # "generator already executing"
        if "executing" not in str(error):
            raise


def _waiting_threads() -> CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MAX_WAITING_THREADS)
        _limiter.set(limiter)
        return limiter
