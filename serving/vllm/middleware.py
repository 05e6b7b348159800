"""Objectives in headers on their way into vLLM, and refusals on their way out as 429."""

import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.errors import ApiError
from serving.api.slo import slo_of
from serving.sched.request import Slo
from serving.vllm.objectives import BadObjective, as_xargs, objectives_in
from serving.vllm.outcome import HeldAnswer

PATHS = ("/v1/completions", "/v1/chat/completions")
LONGEST_BODY_NBYTES = 64 << 20


class SloMiddleware:
    """For ``--middleware``: ``x-slo-*`` headers become ``vllm_xargs``; a refusal becomes a status.

    Without it objectives can still be sent in ``vllm_xargs``, and a refusal is an answer without
    text whose ``finish_reason`` is "abort" and whose ``stop_reason`` says why.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        asks = scope["type"] == "http" and scope["method"] == "POST"
        if not asks or not scope["path"].endswith(PATHS):
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(receive)
            scope, body = _with_objectives(scope, body)
        except ApiError as error:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, send)
            return
        held = HeldAnswer(send)
        await self._app(scope, _replayed(body, receive, held), held.send)
        await held.close(scope, receive)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LONGEST_BODY_NBYTES:
            raise ApiError(413, f"the body is longer than {LONGEST_BODY_NBYTES} bytes")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


def _with_objectives(scope: Scope, body: bytes) -> tuple[Scope, bytes]:
    """The request with its headers' objectives in ``vllm_xargs``; those in the body are checked."""
    slo = slo_of(Headers(scope=scope), None)
    if slo == Slo() and b"slo_t" not in body:
        return scope, body
    try:
        asked: Any = json.loads(body)
        given = asked.get("vllm_xargs") or {}
        objectives_in(given)
    except BadObjective as error:
        raise ApiError(400, f"an objective in vllm_xargs: {error}", param="vllm_xargs") from error
    except (AttributeError, TypeError, ValueError):
        return scope, body  # vLLM says what is wrong with it
    asked["vllm_xargs"] = given | as_xargs(slo)
    changed = json.dumps(asked).encode()
    scope = dict(scope, headers=list(scope["headers"]))
    MutableHeaders(scope=scope)["content-length"] = str(len(changed))
    return scope, changed


def _replayed(body: bytes, receive: Receive, held: HeldAnswer) -> Receive:
    """The body once; then the client, who is gone for vLLM once the answer is a refusal."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await held.until_gone(receive)

    return replay
