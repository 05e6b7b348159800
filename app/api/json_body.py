"""Strict, bounded JSON: what a client sends is measured before and after it is parsed.

The standard parser accepts duplicate keys and NaN and answers deep nesting with RecursionError;
none of these is JSON that an honest client sends.
"""

import json
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.errors import InvalidRequest, LimitExceeded
from app.settings import Limits

Schema = TypeVar("Schema", bound=BaseModel)

MAX_FORM_FIELDS = 4_096


def parse_json(data: bytes, limits: Limits) -> Any:
    """The value of a JSON text. Raises InvalidRequest, or LimitExceeded beyond the depth limit."""
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise InvalidRequest(f"not JSON: {error}") from None
    _check_value(value, limits.json_depth)
    return value


def validated(schema: type[Schema], value: Any) -> Schema:
    """``value`` as ``schema``. Raises InvalidRequest naming the first bad field."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidRequest(f"{where}: {first['msg']}") from None


async def read_body(request: Request, max_nbytes: int, setting: str) -> bytes:
    """The whole body of a request, refused as soon as it exceeds ``max_nbytes``."""
    refuse_content_encoding(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_nbytes:
            raise LimitExceeded(f"the request body exceeds {max_nbytes} bytes", setting=setting)
    return bytes(body)


async def read_json(request: Request, limits: Limits, schema: type[Schema]) -> Schema:
    """The body of a request as ``schema``."""
    body = await read_body(request, limits.json_nbytes, "limits.json_nbytes")
    return validated(schema, parse_json(body, limits))


async def read_form_or_json(
    request: Request, limits: Limits, schema: type[Schema], *, lists: frozenset[str]
) -> Schema:
    """The body as ``schema``, sent as a form or as JSON. ``lists``: fields that may repeat."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return await read_json(request, limits, schema)
    body = await read_body(request, limits.json_nbytes, "limits.json_nbytes")
    try:
        fields = parse_qs(
            body.decode(), errors="strict", keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError as error:
        raise InvalidRequest(f"not a form: {error}") from None
    _check_value(fields, limits.json_depth)
    values = {name: found if name in lists else found[-1] for name, found in fields.items()}
    return validated(schema, values)


def refuse_content_encoding(request: Request) -> None:
    """Compressed bodies are refused: nobody needs them, and they can be bombs."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InvalidRequest("compressed request bodies are not accepted")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key in an object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_value(value: Any, max_depth: int) -> None:
    """Refuse what nests too deep, and text that neither UTF-8 nor a database can hold."""
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                _check_text(each)
            elif isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return
        level = below
    raise _too_deep()


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise InvalidRequest("text holds NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequest("text holds half of a surrogate pair") from None


def _too_deep() -> LimitExceeded:
    return LimitExceeded("JSON is nested too deeply", setting="limits.json_depth")
