"""Routing on the path as it was sent: ``%2F`` inside a segment is not a separator.

Clients quote revisions and tree paths with ``quote(value, safe="")``, so ``refs/pr/1`` arrives as
``refs%2Fpr%2F1``; ASGI servers decode before routing, which would split it. :class:`QuotedPath`
decodes every segment of ``scope["raw_path"]`` on its own and keeps an encoded slash as a token that
cannot occur otherwise; the convertors below, named in route paths, turn the token back:

    {repo_type:repotype}   models | datasets | spaces  ->  model | dataset | space
    {repo_type:typeprefix} "" | "datasets/" | "spaces/"  ->  the same types (root-level URLs)
    {revision:quoted}      one segment that may carry encoded slashes
    {path:quotedpath}      the rest of the path, encoded slashes or not; never empty

Modules that use them in a route import this module first.
"""

import re
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import error_response
from app.catalog.naming import RepoType
from app.errors import InvalidPath

ENCODED_SLASH = "\x00"
"""Stands for ``%2F`` while a request is routed; ``%00`` itself is refused."""

TYPE_PREFIXES = ("", "datasets/", "spaces/")
"""What the convertor ``typeprefix`` matches."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class QuotedPath:
    """Middleware: sets ``scope["path"]`` from the raw path, encoded slashes kept apart."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route on the raw path; 400 for a path that is not UTF-8 or has control characters."""
        if scope["type"] == "http":
            path = routing_path(scope["raw_path"])
            if path is None or b"%00" in scope["query_string"]:
                error = InvalidPath("the URL holds control characters or is not UTF-8")
                await error_response(error)(scope, receive, send)
                return
            scope["path"] = path
        await self.app(scope, receive, send)


def hub_path(scope: Scope) -> str:
    """The routing path of a request without the prefix that the hub is served under."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def routing_path(raw: bytes) -> str | None:
    """The path to route on, or None if the raw path is not one we accept."""
    path = raw.split(b"?", 1)[0]
    try:
        text = unquote_to_bytes(re.sub(rb"%2[fF]", b"%00", _without_nul(path))).decode("utf-8")
    except ValueError:
        return None
    return None if _CONTROL.search(text.replace(ENCODED_SLASH, "")) else text


def _without_nul(path: bytes) -> bytes:
    if b"%00" in path or b"\x00" in path:
        raise ValueError("NUL in the path")
    return path


class _RepoType(Convertor[str]):
    regex = "models|datasets|spaces"

    def convert(self, value: str) -> str:
        return value.removesuffix("s")

    def to_string(self, value: str) -> str:
        return value + "s"


class _TypePrefix(Convertor[str]):
    # Nothing only where no type follows: datasets/a/tree is a repo called tree, none of "datasets".
    regex = "(?:datasets/|spaces/|(?!datasets/|spaces/))"

    def convert(self, value: str) -> str:
        return value.removesuffix("s/") or "model"

    def to_string(self, value: str) -> str:
        return repo_path_prefix(cast("RepoType", value))


class _Quoted(Convertor[str]):
    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return value.replace(ENCODED_SLASH, "/")

    def to_string(self, value: str) -> str:
        return value.replace("/", ENCODED_SLASH)


class _QuotedPath(_Quoted):
    regex = ".+"


def describe_convertor(convertor: Convertor[Any]) -> dict[str, Any]:
    """What a path parameter of this convertor looks like on the wire, in words of OpenAPI."""
    if isinstance(convertor, _RepoType):
        return {"schema": {"type": "string", "enum": _RepoType.regex.split("|")}}
    if isinstance(convertor, _QuotedPath):
        return {"description": "A path; its slashes may be sent as %2F or as they are."}
    if isinstance(convertor, _Quoted):
        return {"description": "One segment: slashes inside are sent as %2F."}
    return {}


register_url_convertor("repotype", _RepoType())
register_url_convertor("typeprefix", _TypePrefix())
register_url_convertor("quoted", _Quoted())
register_url_convertor("quotedpath", _QuotedPath())


def repo_path_prefix(repo_type: RepoType) -> str:
    """What precedes ``namespace/name`` in a page or file URL: nothing for models."""
    return "" if repo_type == "model" else f"{repo_type}s/"
