"""The one door to the upstream: every request of the mirror leaves, and every answer enters, here.

The token goes to the upstream's own address only; redirects are followed by hand, each step checked
(:mod:`app.mirror.destinations`); answers are bounded in bytes, time and slowness.
"""

import base64
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Literal

import httpx
from httpx import URL

from app import __version__
from app.errors import UpstreamDown, UpstreamLied, UpstreamSlow
from app.mirror.destinations import Destinations, Resolve, origin, resolve_by_system
from app.settings import Settings

REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
VIA = "x-clade-mirror-via"
"""Names the hubs that a request came through, so that two that mirror each other do not circle."""

_WINDOW_S = 30.0
"""Over which the pace of an answer is judged."""

Login = Literal["bearer", "basic", "none"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read to its end. ``url`` is where it came from, after redirects."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: URL


class Door:
    """Talks to one upstream. Thread-safe; connections are kept between requests."""

    def __init__(self, settings: Settings, *, resolve: Resolve = resolve_by_system) -> None:
        assert settings.upstream is not None
        self.base = settings.upstream.rstrip("/")
        self._settings = settings.mirror
        self._destinations = Destinations(settings, resolve)
        self._client = httpx.Client(
            transport=_transport(settings, self._destinations),
            timeout=httpx.Timeout(settings.mirror.idle_s, connect=settings.mirror.connect_s),
            follow_redirects=False,
            trust_env=False,
        )

    @property
    def answer_s(self) -> float:
        """Time for an answer that is no file, seconds."""
        return self._settings.answer_s

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        most_nbytes: int,
        content: bytes | None = None,
    ) -> Answer:
        """A page of the upstream, at most so long; posted to with ``content``.

        Raises UpstreamDown, UpstreamSlow, UpstreamLied.
        """
        method = "GET" if content is None else "POST"
        login = "bearer" if content is None else "basic"
        opened = self.open(method, path, headers=headers, content=content, login=login)
        with opened as response:
            body = bytearray()
            for chunk in self.body(response, within_s=self._settings.answer_s):
                body += chunk
                if len(body) > most_nbytes:
                    raise UpstreamLied(f"the upstream's answer to {path} does not end")
            return Answer(response.status_code, response.headers, bytes(body), response.url)

    @contextmanager
    def open(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        login: Login = "bearer",
        for_host: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        """Ask, and follow where a GET is sent; the last response, its body not yet read.

        ``path``: on the upstream, or a whole URL that the upstream gave. ``for_host``: headers, by
        lower-case name, for that URL's own scheme, host and port and nowhere else; an Authorization
        among them stands in for ours. Raises UpstreamDown, -Slow and -Lied; later, reading the body
        does.
        """
        with translated():
            url = first = URL(self.base + path if path.startswith("/") else path)
            self._destinations.check(url)
            for _ in range(REDIRECTS + 1):
                sent = self._headers(url, headers, login)
                if origin(url) == origin(first):
                    sent |= for_host or {}
                request = self._client.build_request(method, url, headers=sent, content=content)
                response = self._client.send(request, stream=True)
                # The transport connects to an address; what was asked is the name.
                response.request.url = url
                location = response.headers.get("location")
                if response.status_code not in REDIRECT_STATUSES or location is None:
                    try:
                        yield response
                    finally:
                        response.close()
                    return
                response.close()
                if method != "GET":
                    raise UpstreamLied("the upstream sends a request elsewhere that has a body")
                after, url = url, url.join(location)
                self._destinations.check(url, after=after)
        raise UpstreamLied(f"the upstream sends us around in circles for {path}")

    def body(self, response: httpx.Response, *, within_s: float | None) -> Iterator[bytes]:
        """The bytes of a response as they come, neither later nor slower than the settings allow.

        ``within_s``: for the whole body; None: any time, if it only comes fast enough.
        """
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamLied("the upstream packs its answer though it was asked not to")
        began = window_at = time.monotonic()
        window_nbytes = 0
        with translated():
            for chunk in response.iter_raw():
                now = time.monotonic()
                window_nbytes += len(chunk)
                if within_s is not None and now - began > within_s:
                    raise UpstreamSlow(f"the upstream's answer took longer than {within_s:g} s")
                if now - window_at >= _WINDOW_S:
                    if window_nbytes < self._settings.slowest_nbytes_s * _WINDOW_S:
                        raise UpstreamSlow(
                            "the upstream sends too slowly (mirror.slowest_nbytes_s)"
                        )
                    window_at, window_nbytes = now, 0
                yield chunk

    def _headers(self, url: URL, headers: Mapping[str, str] | None, login: Login) -> dict[str, str]:
        all_headers = {
            "user-agent": f"clade/{__version__} (mirror)",
            "accept-encoding": "identity",
            **(headers or {}),
        }
        if not self._destinations.is_home(url):
            all_headers.pop(VIA, None)
            return all_headers
        token = self._settings.token
        if token is not None and login == "bearer":
            all_headers["authorization"] = f"Bearer {token.get_secret_value()}"
        if token is not None and login == "basic":
            pair = base64.b64encode(f"clade:{token.get_secret_value()}".encode()).decode()
            all_headers["authorization"] = f"Basic {pair}"
        return all_headers


@contextmanager
def translated() -> Iterator[None]:
    """Raise what httpx raises as errors of the hub."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamSlow(f"the upstream does not answer in time ({_words(error)})") from error
    except httpx.TransportError as error:
        raise UpstreamDown(f"the upstream cannot be reached ({_words(error)})") from error
    except (httpx.InvalidURL, httpx.StreamError) as error:
        raise UpstreamLied(f"the upstream's answer makes no sense ({_words(error)})") from error


class _PinnedTransport(httpx.BaseTransport):
    """Connects to the addresses that were looked at; TLS still asks for the name."""

    def __init__(self, destinations: Destinations, connections: int) -> None:
        self._destinations = destinations
        self._limits = httpx.Limits(max_connections=connections)
        self._lock = Lock()
        # One pool a name: names that share an address must not share a TLS connection.
        self._by_host: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        inner = self._pool(url.host)
        *others, last = self._destinations.addresses(url)
        for address in others:
            try:
                request.url = url.copy_with(host=address)
                return inner.handle_request(request)
            except httpx.ConnectError:
                continue
        request.url = url.copy_with(host=last)
        return inner.handle_request(request)

    def close(self) -> None:
        with self._lock:
            for pool in self._by_host.values():
                pool.close()

    def _pool(self, host: str) -> httpx.HTTPTransport:
        with self._lock:
            pool = self._by_host.get(host)
            if pool is None:
                pool = httpx.HTTPTransport(verify=_authorities(), limits=self._limits)
                self._by_host[host] = pool
            return pool


@cache
def _authorities() -> ssl.SSLContext:
    """Whom TLS trusts: read from disk once, as that takes longer than many an answer."""
    return httpx.create_ssl_context()


def _transport(settings: Settings, destinations: Destinations) -> httpx.BaseTransport:
    connections = 4 * settings.mirror.downloads + 16
    if settings.mirror.proxy is not None:
        limits = httpx.Limits(max_connections=connections)
        return httpx.HTTPTransport(proxy=settings.mirror.proxy.get_secret_value(), limits=limits)
    return _PinnedTransport(destinations, connections)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
