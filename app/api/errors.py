"""How errors look on the wire: one table from class to status and X-Error-Code.

The body is ``{"error": message}``; X-Error-Message repeats it as one ASCII line (anything else
makes the HTTP parser drop the connection). An exception outside the tree is answered by
``app.api.middleware``, with nothing but the request id.
"""

import logging
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app import errors
from app.api.moved import moved_location

log = logging.getLogger(__name__)

RESPONSES: dict[type[errors.HubError], tuple[int, str]] = {
    errors.InvalidRequest: (400, "InvalidRequest"),
    errors.InvalidPath: (422, "InvalidPath"),
    errors.LimitExceeded: (413, "LimitExceeded"),
    errors.IntegrityError: (422, "IntegrityError"),
    errors.MissingUploads: (422, "MissingUploads"),
    errors.Unauthorized: (401, "Unauthorized"),
    errors.Forbidden: (403, "Forbidden"),
    errors.GatedRepo: (403, "GatedRepo"),
    errors.QuotaExceeded: (403, "QuotaExceeded"),
    errors.ReadOnlyRepo: (403, "ReadOnlyRepo"),
    errors.NotFound: (404, "NotFound"),
    errors.RepoNotFound: (404, "RepoNotFound"),
    errors.RepoMoved: (404, "RepoNotFound"),
    errors.RevisionNotFound: (404, "RevisionNotFound"),
    errors.EntryNotFound: (404, "EntryNotFound"),
    errors.ContentNotFound: (404, "ContentNotFound"),
    errors.Conflict: (409, "Conflict"),
    errors.StaleParent: (412, "StaleParent"),
    errors.LeaseLost: (409, "LeaseLost"),
    errors.RangeNotSatisfiable: (416, "RangeNotSatisfiable"),
    errors.RateLimited: (429, "RateLimited"),
    errors.NotOffered: (501, "NotOffered"),
    errors.Unavailable: (503, "Unavailable"),
    errors.StorageFull: (507, "StorageFull"),
    errors.Damaged: (503, "Damaged"),
    errors.UpstreamDown: (503, "UpstreamDown"),
    errors.UpstreamSlow: (504, "UpstreamSlow"),
    errors.UpstreamLied: (502, "UpstreamLied"),
}
"""Looked up along the class's ancestry; a class that is not here is a bug of ours: 500."""

RETRY_AFTER_S = 2
MAX_MESSAGE_LENGTH = 1_000


def error_response(error: errors.HubError, *, anonymous: bool = False) -> Response:
    """The answer to an error of ours. ``anonymous``: the caller might see more after logging in."""
    status, code = _look_up(type(error))
    body: dict[str, Any] = {"error": error.message}
    headers = {"X-Error-Code": code, "X-Error-Message": header_text(error.message)}
    if isinstance(error, errors.RepoNotFound | errors.GatedRepo) and anonymous:
        status = 401
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="clade", charset="UTF-8"'
    if isinstance(error, errors.EntryNotFound) and error.commit:
        headers["X-Repo-Commit"] = error.commit
    if isinstance(error, errors.Conflict) and error.url:
        body["url"] = error.url
    if isinstance(error, errors.MissingUploads):
        body["oids"] = error.oids
    if isinstance(error, errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, errors.Unavailable) and not isinstance(error, errors.StorageFull):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(body, status_code=status, headers=headers)


def unforeseen_error_response(request_id: str) -> Response:
    """The answer to an exception that is a bug of ours: its request id and nothing else."""
    return _plain_error(500, "InternalError", f"internal error, request id {request_id}")


def invalid_parameter(error: RequestValidationError) -> tuple[Response, str]:
    """The answer to a parameter that FastAPI itself refuses, and what it says."""
    first = error.errors()[0]
    message = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return _plain_error(422, "InvalidRequest", message), message


def header_text(message: str) -> str:
    """A message as a header value: one line of printable ASCII, bounded."""
    line = " ".join(message[:MAX_MESSAGE_LENGTH].split())
    return "".join(char if " " <= char <= "~" else "?" for char in line)


def install_error_responses(app: FastAPI) -> None:
    """Make the app answer every exception in the shape above."""
    app.add_exception_handler(errors.HubError, _hub_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def _look_up(error_class: type) -> tuple[int, str]:
    for ancestor in error_class.__mro__:
        if ancestor in RESPONSES:
            return RESPONSES[ancestor]
    return 500, "InternalError"


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HubError)
    if isinstance(error, errors.Unavailable):
        # What broke below is worth a traceback; a client that went away is not.
        log.warning("unavailable: %s", error.message, exc_info=error.__cause__)
    if isinstance(error, errors.RepoMoved):
        location = moved_location(request, error.repo_id)
        if location is not None:
            return Response(status_code=307, headers={"Location": location})
    return error_response(error, anonymous="authorization" not in request.headers)


async def _validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return invalid_parameter(error)[0]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = unquote(request.scope["raw_path"].decode())
    match error.status_code:
        case 404:
            return _plain_error(404, "NotFound", f"no such page: {request.method} {path}")
        case 405:
            allowed = ", ".join(sorted(request.app.state.routes.methods(request.scope)))
            message = f"{request.method} is not allowed here; use {allowed}"
            response = _plain_error(405, "MethodNotAllowed", message)
            response.headers["Allow"] = allowed
            return response
        case status:
            return _plain_error(status, "HttpError", str(error.detail))


def _plain_error(status: int, code: str, message: str) -> Response:
    headers = {"X-Error-Code": code, "X-Error-Message": header_text(message)}
    return JSONResponse({"error": message}, status_code=status, headers=headers)
