"""Answers in OpenAI's shape: errors as objects, lists with ``has_more``, times in seconds.

Source: ``openai-python``, ``_exceptions.py``, ``pagination.py`` and ``types/``. What this hub says
of an error in headers it says here too.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from app.api.errors import error_response, invalid_parameter
from app.errors import HubError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
KEPT = frozenset({"x-error-code", "x-error-message", "www-authenticate", "retry-after"})


class OpenAiRoute(APIRoute):
    """Answers errors as OpenAI's clients read them."""

    def get_route_handler(self) -> Handler:
        """The route's handler with errors translated."""
        handler = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handler(request)
            except HubError as error:
                return in_openai_shape(error_response(error), error.message)
            except RequestValidationError as error:
                plain, message = invalid_parameter(error)
                return in_openai_shape(plain, message)

        return translated


def in_openai_shape(plain: Response, message: str) -> Response:
    """The same error with a body of OpenAI's; ``param``: the field that the message begins with."""
    field, colon, _ = message.partition(":")
    is_field = bool(colon) and field.replace(".", "").replace("_", "").isalnum()
    status = plain.status_code
    error = {
        "message": message,
        "type": TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": field.removeprefix("query.") if is_field else None,
        "code": _snake(plain.headers["x-error-code"]),
    }
    headers = {name: value for name, value in plain.headers.items() if name in KEPT}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def seconds(moment: datetime | None) -> int | None:
    """Since the epoch."""
    return None if moment is None else int(moment.timestamp())


def page(objects: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A list of objects."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }


def loaded(text: str | None) -> Any:
    """What a column of JSON holds."""
    return None if text is None else json.loads(text)


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
