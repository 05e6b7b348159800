"""A request body as an iterable for synchronous code: bounded, with back-pressure, abortable.

The event loop fills a queue of a few MiB while a worker thread empties it. A client that goes away
or is too slow makes the iterable raise, so that the worker undoes what it began.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.requests import ClientDisconnect, Request

from app.api.json_body import refuse_content_encoding
from app.api.pace import Pace, TooSlow
from app.errors import HubError, IntegrityError, LimitExceeded, Unavailable

T = TypeVar("T")

BUFFER_NBYTES = 1 << 20
BUFFERS_AHEAD = 3

CHUNKS_PER_BUFFER = 256
"""A client that sends a byte at a time must not make us hold a million objects."""

UPLOAD_THREADS = 32
"""Uploads that are received at a time; others wait for their turn, unread."""

DRAIN_NBYTES = 8 << 20
DRAIN_S = 2.0


_limiter: RunVar[CapacityLimiter] = RunVar("upload_limiter")


class UploadBroken(Unavailable):
    """The client went away or was too slow before the body was complete."""


def check_declared(request: Request, nbytes: int) -> None:
    """Refuse a body that is declared to have another length than ``nbytes``, before reading it."""
    declared = request.headers.get("content-length")
    if declared is not None and declared != str(nbytes):
        raise IntegrityError(f"{nbytes} bytes were announced, the request has {declared}")


def check_declared_limit(request: Request, max_nbytes: int, setting: str) -> None:
    """Refuse a body that is declared longer than ``max_nbytes``, before reading it."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > max_nbytes:
        raise LimitExceeded(f"the request body exceeds {max_nbytes} bytes", setting=setting)


def upload_limiter() -> CapacityLimiter:
    """What bounds the worker threads of uploads on this event loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(UPLOAD_THREADS)
        _limiter.set(limiter)
        return limiter


async def run_on_upload_thread(work: Callable[[], T]) -> T:
    """Run ``work``, which takes as long as an upload, on one of the threads of uploads."""
    return await anyio.to_thread.run_sync(work, limiter=upload_limiter())


async def with_body(request: Request, work: Callable[[Iterator[bytes]], T], *, pace: Pace) -> T:
    """Run ``work`` on a thread with the body in buffers of about a MiB; its result.

    The iterator raises :class:`UploadBroken` if the client goes away or does not keep ``pace``. An
    exception of ``work`` passes through, after a little of what the client is still sending was
    read, so that it gets to see the answer.
    """
    refuse_content_encoding(request)
    body = _Body(request, pace)
    failure: Exception | None = None
    result: list[T] = []
    async with anyio.create_task_group() as group:
        group.start_soon(body.fill)
        try:
            result.append(
                await anyio.to_thread.run_sync(work, body.buffers(), limiter=upload_limiter())
            )
        except Exception as error:  # noqa: BLE001  raised below, outside of the task group
            failure = error
        group.cancel_scope.cancel()
    body.close()
    if failure is not None:
        if isinstance(failure, HubError) and not body.broken:
            await _drain(request)
        raise failure
    return result[0]


class _Body:
    """The queue between the event loop and one worker thread."""

    def __init__(self, request: Request, pace: Pace) -> None:
        self._request = request
        self._pace = pace
        self._send: MemoryObjectSendStream[list[bytes]]
        self._receive: MemoryObjectReceiveStream[list[bytes]]
        self._send, self._receive = anyio.create_memory_object_stream[list[bytes]](BUFFERS_AHEAD)
        self.broken = ""

    async def fill(self) -> None:
        """On the event loop: read the request into the queue."""
        with self._send:
            try:
                await self._pump()
            except ClientDisconnect:
                self.broken = "the client went away"
            except TooSlow as error:
                self.broken = str(error)

    def buffers(self) -> Iterator[bytes]:
        """On the worker thread: what the queue yields."""
        while True:
            try:
                chunks = anyio.from_thread.run(self._receive.receive)
            except anyio.EndOfStream:
                break
            yield b"".join(chunks)
        if self.broken:
            raise UploadBroken(f"the upload broke off: {self.broken}")

    def close(self) -> None:
        """On the event loop, once the worker is done."""
        self._receive.close()

    async def _pump(self) -> None:
        chunks: list[bytes] = []
        waiting_nbytes = 0
        stream = self._request.stream()
        while (chunk := await self._pace.next(stream)) is not None:
            chunks.append(chunk)
            waiting_nbytes += len(chunk)
            if waiting_nbytes >= BUFFER_NBYTES or len(chunks) == CHUNKS_PER_BUFFER:
                await self._send.send(chunks)
                chunks, waiting_nbytes = [], 0
        if chunks:
            await self._send.send(chunks)


async def _drain(request: Request) -> None:
    room = DRAIN_NBYTES
    with suppress(ClientDisconnect, RuntimeError), anyio.move_on_after(DRAIN_S):
        async for chunk in request.stream():
            room -= len(chunk)
            if room < 0:
                return
