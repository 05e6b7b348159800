"""Pagination: opaque cursors in the query, the next page in a Link header."""

import base64
import binascii
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response

from app.api.deps import base_url
from app.errors import InvalidRequest

CURSOR = "cursor"


def set_next_page(request: Request, response: Response, position: Any) -> None:
    """Point to the page that starts after ``position`` (any JSON value)."""
    query = [
        (key, value)
        for key, value in parse_qsl(request.url.query, keep_blank_values=True)
        if key != CURSOR
    ]
    query.append((CURSOR, _encode(position)))
    prefix = request.scope.get("root_path", "")
    path = request.scope["raw_path"].decode("ascii").removeprefix(prefix)
    response.headers["Link"] = f'<{base_url(request)}{path}?{urlencode(query)}>; rel="next"'


def cursor_position(cursor: str | None) -> Any:
    """What :func:`set_next_page` was given; None on the first page."""
    if cursor is None:
        return None
    try:
        return json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidRequest("the cursor is not one of ours") from None


def whole_number(cursor: str | None) -> int:
    """A position that is a row's id; 0 on the first page."""
    position = cursor_position(cursor)
    if position is None:
        return 0
    if type(position) is not int or not 0 <= position < 1 << 63:
        raise InvalidRequest("the cursor is not one of ours")
    return position


def place_in_text(cursor: str | None) -> str | None:
    """A position that is a text, such as a path; None on the first page."""
    position = cursor_position(cursor)
    if position is not None and not isinstance(position, str):
        raise InvalidRequest("the cursor is not one of ours")
    return position


def _encode(position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()
