"""Server-sent events to a reader that may be slow, or gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

READER_S = 60.0
"""A reader that takes nothing for so long is given up."""

DONE = b"data: [DONE]\n\n"


def sse(payload: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Whatever ends it, ``held`` is let go of: also if its first event is never asked for."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], headers: dict[str, str], held: AsyncExitStack
    ) -> None:
        super().__init__(events, headers={"cache-control": "no-cache", **headers})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(READER_S):
                await send(message)

        try:
            await super().__call__(scope, receive, patiently)
        except TimeoutError:
            pass  # the reader is stuck; the connection is cut by the server
        finally:
            await self._held.aclose()


async def gone(request: Request) -> None:
    """Returns when the client has closed its connection; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
