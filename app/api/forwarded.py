"""Requests as they were before a reverse proxy: scheme, host, path prefix and the client's address.

X-Forwarded-Proto, -Host, -Prefix and -For are believed of trusted proxies only; anyone else could
have the hub put a foreign address into what it answers. A hub at ``https://host/prefix`` may be
reached in three ways: the proxy passes the path unchanged (``public_url`` names the prefix), takes
the prefix off and says so (X-Forwarded-Prefix), or takes it off (``public_url`` again). Behind this
middleware ``root_path`` is the prefix and the path starts with it, as ASGI wants it.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.networks import Networks, is_within, parse_address, parse_networks
from app.settings import Settings

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Forwarded:
    """Middleware: undoes what proxies do to a request."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._trusted = parse_networks(settings.trusted_proxies)
        self._prefix = urlsplit(settings.public_url or "").path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Correct the scope of an HTTP request, pass on anything else."""
        if scope["type"] == "http":
            told = ""
            if _says_something(scope) and self._is_trusted(scope):
                told = self._believe(scope)
            raw, own = scope["raw_path"], self._prefix.encode()
            if told:
                _set_prefix(scope, told, told.encode() + raw)
            elif own:
                is_whole = raw == own or raw.startswith(own + b"/")
                _set_prefix(scope, self._prefix, raw if is_whole else own + raw)
        await self.app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        return scope["client"] is not None and is_within(scope["client"][0], self._trusted)

    def _believe(self, scope: Scope) -> str:
        """Take over what a trusted proxy says; the path prefix that it took off, or nothing."""
        headers = Headers(scope=scope)
        scheme = _first(headers, "x-forwarded-proto").lower()
        if scheme in {"http", "https"}:
            scope["scheme"] = scheme
        host = _first(headers, "x-forwarded-host")
        if _HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [(b"host", host.encode()), *others]
        hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
        address = _nearest_stranger([hop.strip() for hop in hops], self._trusted)
        if address is not None:
            scope["client"] = (address, 0)
        prefix = _first(headers, "x-forwarded-prefix").rstrip("/")
        return prefix if _PREFIX.fullmatch(prefix) else ""


def _says_something(scope: Scope) -> bool:
    return any(name.startswith(b"x-forwarded-") for name, _ in scope["headers"])


def _set_prefix(scope: Scope, prefix: str, raw_path: bytes) -> None:
    scope["root_path"] = prefix
    scope["raw_path"] = raw_path


def _first(headers: Headers, name: str) -> str:
    """What the proxy nearest to the client said."""
    return headers.get(name, "").partition(",")[0].strip()


def _nearest_stranger(hops: Sequence[str], trusted: Networks) -> str | None:
    """The last hop that is no proxy of ours: what stands before it may be made up."""
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None:
            return None
        if not any(address in network for network in trusted):
            return str(address)
    return None
