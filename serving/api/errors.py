"""What goes wrong, in OpenAI's shape: ``{"error": {message, type, param, code}}``.

400 a request that can never be served · 401 no or a wrong key · 404 unknown model or route · 413 a
body that is too long · 429 refused now, with Retry-After · 500 the engine lost the request · 503 no
engine.
"""

import math
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.engine.output import Refused
from serving.engine.params import BadParams
from serving.sched.decision import Reason

LEAST_RETRY_S = 0.05
HOPELESS_RETRY_S = 60.0
"""For what cannot be had here at any time: a client that insists shall at least take its time."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
_REFUSALS = {
    Reason.TTFT: "its first token would come later than its TTFT objective",
    Reason.TPOT: "its tokens would come slower than its TPOT objective, or make others late",
    Reason.QUEUE: "too many requests are waiting",
}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message.encode(errors="replace").decode())
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of it."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def refusal(refused: Refused) -> ApiError:
    """A policy's no. The reason is told in the body and in llm-d's header."""
    if refused.reason is Reason.LENGTH:
        return ApiError(
            400,
            "prompt and max_tokens together never fit into this engine's KV pool or step",
            code="context_length_exceeded",
        )
    return overloaded(refused.reason, _REFUSALS[refused.reason], refused.retry_after_s)


def overloaded(reason: str, message: str, retry_after_s: float | None) -> ApiError:
    """429; ``retry_after_s`` None: what was asked for cannot be had here at any time.

    OpenAI's clients are told the latter by ``x-should-retry`` and do not ask again by themselves.
    """
    wait_s = HOPELESS_RETRY_S if retry_after_s is None else max(retry_after_s, LEAST_RETRY_S)
    headers = {
        "x-llm-d-request-dropped-reason": f"rejected-{reason}",
        "retry-after": str(math.ceil(wait_s)),
        "retry-after-ms": str(math.ceil(wait_s * 1000)),
    }
    if retry_after_s is None:
        headers["x-should-retry"] = "false"
    return ApiError(429, f"refused: {message}", code=str(reason), headers=headers)


def bad_params(error: BadParams) -> ApiError:
    """A parameter out of bounds."""
    is_long = type(error).__name__ == "TooLong"
    code = "context_length_exceeded" if is_long else None
    return ApiError(400, str(error), param=error.param, code=code)


async def answer_api_error(_request: Request, error: Exception) -> JSONResponse:
    """For FastAPI."""
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, headers=error.headers)


async def answer_validation(_request: Request, error: Exception) -> JSONResponse:
    """For FastAPI: the first field that is wrong, by its path."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if part != "body")
    message = f"{path}: {first['msg']}" if path else str(first["msg"])
    return JSONResponse(ApiError(400, message, param=path or None).body, 400)


async def answer_unexpected(_request: Request, _error: Exception) -> JSONResponse:
    """For FastAPI: what nobody foresaw; its traceback is in the log."""
    return JSONResponse(ApiError(500, "internal error").body, 500)


async def answer_http(request: Request, error: Exception) -> JSONResponse:
    """For FastAPI: unknown routes and methods, bodies that are too long."""
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in {404, 405}:
        asked = f"{request.method} {request.url.path}"
        message = f"{asked} is not served here; GET /openapi.json says what is"
    return JSONResponse(ApiError(error.status_code, message).body, error.status_code)
