"""Pure ASGI middleware: request ids, the last resort for exceptions, JSON body bounds, metering.

Pure, because Starlette's BaseHTTPMiddleware hides ``http.disconnect`` from streaming responses: a
client that goes away would not stop the work done for it.
"""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts.audit import acting
from app.api.errors import error_response, unforeseen_error_response
from app.api.metrics import RequestMetrics
from app.api.routing import hub_path
from app.errors import LimitExceeded
from app.settings import Limits

log = structlog.get_logger(__name__)

CLIENT_GONE = 499

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")
_PARSED_TYPES = re.compile(r"application/(json|[\w.\-]+\+json|x-www-form-urlencoded)\b")


class RequestId:
    """Gives each response and its log lines a request id, and a stray exception a 500 with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Echo the client's id (X-Request-Id, else X-Amzn-Trace-Id) or make one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        address = scope["client"][0] if scope["client"] else ""
        with structlog.contextvars.bound_contextvars(request_id=request_id), acting(address):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                return  # in the middle of a body: nobody is left to be answered
            except Exception:
                log.exception("http.unforeseen_error")
                if started:  # the answer cannot be taken back: cut the connection so it is seen
                    raise
                await unforeseen_error_response(request_id)(scope, receive, send_with_id)


class JsonBodyLimit:
    """Refuses JSON and form bodies beyond ``limits.json_nbytes``, declared or actual.

    Bodies that routes read as a stream (files, xorbs, shards, ndjson) have limits of their own.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body that is declared too long, cut off one that turns out to be."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        streams = scope.get("method") == "PUT" and not hub_path(scope).startswith("/api/")
        if streams or not _PARSED_TYPES.match(headers.get("content-type", "")):
            await self.app(scope, receive, send)
            return
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self.limits.json_nbytes:
            await error_response(self._refusal())(scope, receive, send)
            return
        room = self.limits.json_nbytes

        async def receive_bounded() -> Message:
            nonlocal room
            message = await receive()
            room -= len(message.get("body", b""))
            if room < 0:
                raise self._refusal()
            return message

        await self.app(scope, receive_bounded, send)

    def _refusal(self) -> LimitExceeded:
        return LimitExceeded(
            f"the request body exceeds {self.limits.json_nbytes} bytes",
            setting="limits.json_nbytes",
        )


class MeterRequests:
    """Counts requests, bytes and durations by route; logs a line for each if ``logs`` says so.

    A client that goes away before it is answered counts as 499, as with nginx: it is no fault.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, *, logs: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Observe one request; an exception counts as 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.metrics.begin()
        began = time.monotonic()
        status, received, sent = 500, 0, 0
        is_waiting, is_gone = True, False

        async def receive_metered() -> Message:
            nonlocal received, is_gone
            message = await receive()
            received += len(message.get("body", b""))
            is_gone |= is_waiting and message["type"] == "http.disconnect"
            return message

        async def send_metered(message: Message) -> None:
            nonlocal status, sent, is_waiting
            if message["type"] == "http.response.start":
                status, is_waiting = message["status"], False
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive_metered, send_metered)
        finally:
            # The route's template, never the path itself: labels must not grow with repositories.
            route = getattr(scope.get("route"), "path", "unrouted")
            seconds = time.monotonic() - began
            status = CLIENT_GONE if is_gone else status
            self.metrics.observe(route, scope["method"], status, seconds, received, sent)
            if self.logs:
                log.info(
                    "http.request",
                    method=scope["method"],
                    path=_shown_path(scope),
                    status=status,
                    seconds=round(seconds, 4),
                    received=received,
                    sent=sent,
                    client=(scope.get("client") or ("",))[0],
                )


def _shown_path(scope: Scope) -> str:
    """The path without the capability it may carry: who reads logs must not be let in by them."""
    sealed = scope.get("path_params", {}).get("sealed")
    return scope["path"].replace(sealed, "…") if sealed else scope["path"]


def _request_id(headers: Headers) -> str:
    for name in ("x-request-id", "x-amzn-trace-id"):
        value = headers.get(name, "")
        if _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
