"""Before anything is read: a bound on bodies, and an id for every request."""

import re
import uuid

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.errors import ApiError

BODY_NBYTES = 8 << 20
"""A prompt of a million tokens, generously."""

TOO_LONG = f"a body may have {BODY_NBYTES} bytes"

_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Guard:
    """Refuses bodies that are too long, even undeclared ones; echoes or makes X-Request-Id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        sent_id = given.get("x-request-id", "")
        request_id = sent_id if _ID.fullmatch(sent_id) else uuid.uuid4().hex
        received = 0

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_NBYTES:
                raise HTTPException(413, TOO_LONG)
            return message

        length = given.get("content-length", "0")
        if length.isdigit() and int(length) > BODY_NBYTES:
            await JSONResponse(ApiError(413, TOO_LONG).body, 413)(scope, receive, named)
        else:
            await self._app(scope, bounded, named)
