"""An answer of vLLM's that is held back until it is known not to be a refusal."""

import asyncio
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from serving.vllm.refusal import Refusal

_EVENT = b"data: "


class HeldAnswer:
    """Passes an answer on, whole answers when they are whole and streams from their first token."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self._is_passing = False
        self._refused = asyncio.Event()
        self._refusal: Refusal | None = None
        self._is_stream = False
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        """ASGI's, for the application."""
        if self._refusal is not None:
            return
        if self._is_passing:
            await self._send(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            self._is_stream = kind.startswith("text/event-stream")
            if message["status"] != 200:
                await self._pass()
            return
        self._body += message.get("body", b"")
        is_last = not message.get("more_body")
        choices = _told(self._body) if self._is_stream else _whole(self._body) if is_last else None
        if choices is None and not is_last:
            return
        self._refusal = _refusal_in(choices or [])
        if self._refusal is None:
            await self._pass()
        else:
            self._refused.set()

    async def close(self, scope: Scope, receive: Receive) -> None:
        """The application is done: say no, if that is what it said."""
        if self._refusal is not None:
            error = self._refusal.error
            answer = JSONResponse(error.body, error.status, error.headers)
            await answer(scope, receive, self._send)

    async def until_gone(self, receive: Receive) -> Message:
        """What the client sends next; that it has gone, once it is refused."""
        client = asyncio.ensure_future(receive())
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait({client, refused}, return_when=asyncio.FIRST_COMPLETED)
            return client.result() if client.done() else {"type": "http.disconnect"}
        finally:
            client.cancel()
            refused.cancel()

    async def _pass(self) -> None:
        self._is_passing = True
        for message in self._held:
            await self._send(message)
        self._held.clear()
        self._body.clear()


def _whole(body: bytes | bytearray) -> list[dict[str, Any]]:
    """The choices of a whole answer."""
    try:
        return list(json.loads(body)["choices"])
    except (KeyError, TypeError, ValueError):
        return []


def _told(body: bytes | bytearray) -> list[dict[str, Any]] | None:
    """The choices of the first event of a stream that is more than an opening; None: none yet."""
    for line in bytes(body).split(b"\n")[:-1]:
        if not line.startswith(_EVENT):
            continue
        choices = _whole(line.removeprefix(_EVENT))
        if not choices or not all(map(_is_opening, choices)):
            return choices
    return None


def _is_opening(choice: dict[str, Any]) -> bool:
    """Whether a choice of a chat's stream says no more than whose turn it is."""
    delta = choice.get("delta")
    return bool(
        delta is not None
        and choice.get("finish_reason") is None
        and delta.keys() <= {"role", "content"}
        and not delta.get("content")
    )


def _refusal_in(choices: list[dict[str, Any]]) -> Refusal | None:
    """The first one, if all that is told is refusals."""
    found = [
        Refusal.parse(choice.get("stop_reason")) if choice.get("finish_reason") == "abort" else None
        for choice in choices
    ]  # a stop string of a client's may read like a refusal
    return found[0] if found and all(found) else None
