"""What routes that read and send bodies themselves say about them in the OpenAPI document."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BYTES = "application/octet-stream"

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

_ATTRIBUTE = "_request_body"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body: JSON or a form of a schema, or bytes without one."""

    schema: type[BaseModel] | None
    media_types: tuple[str, ...]
    required: bool
    description: str


def takes(
    schema: type[BaseModel], *media_types: str, required: bool = True
) -> Callable[[Endpoint], Endpoint]:
    """Decorates an endpoint that reads its body as ``schema``; JSON if nothing else is named."""
    return _declare(RequestBody(schema, media_types or (JSON,), required, ""))


def takes_bytes(description: str, *media_types: str) -> Callable[[Endpoint], Endpoint]:
    """Decorates an endpoint that reads its body as a stream."""
    return _declare(RequestBody(None, media_types or (BYTES,), True, description))


def sends(
    media_type: str = BYTES, *, ranges: bool = False, unchanged: bool = False
) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route that sends bytes; ``ranges``: parts too, ``unchanged``: or 304."""
    content = {media_type: {"schema": BINARY}}
    answer: dict[int | str, dict[str, Any]] = {
        200: {"description": "The bytes.", "content": content}
    }
    if ranges:
        answer[206] = {"description": "The range asked for.", "content": content}
    if unchanged:
        answer[304] = {"description": "The ETag asked about is still that of the file."}
    return answer


def body_of(endpoint: Callable[..., object]) -> RequestBody | None:
    """What was declared, None for an endpoint that takes no body."""
    return getattr(endpoint, _ATTRIBUTE, None)


def _declare(body: RequestBody) -> Callable[[Endpoint], Endpoint]:
    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, body)
        return endpoint

    return declare
