"""HTTP as this package needs it: connections kept, bodies as streams, bytes counted."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from client.errors import NoConnection, Unreachable

CONNECTIONS = 32
"""Connections kept per host."""

READ_NBYTES = 1 << 20
"""Bytes of a body taken at a time: few steps for Python, and still in the cache when copied."""


class Wire:
    """GET requests to any host, through the proxies that the environment names. Thread-safe."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = urllib3.Timeout(connect=timeout_s, read=timeout_s)
        self._lock = threading.Lock()
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Body bytes received so far."""
        return self._nbytes

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.clear()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer of any status whose body is still to come; redirects are not followed.

        Raises Unreachable, also for what goes wrong while the body is read, and NoConnection if the
        server is not there at all.
        """
        try:
            answer = self._pool(url).request(
                "GET",
                url,
                headers={"accept-encoding": "identity", "user-agent": "clade-pull", **headers},
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                yield answer
            finally:
                with self._lock:
                    self._nbytes += answer.tell()
                answer.close()  # goes back to the pool before, if its body was read to the end
        except NewConnectionError as error:
            raise NoConnection(_reason(error)) from error
        except HTTPError as error:
            raise Unreachable(str(error)) from error

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = (
                    urllib3.PoolManager(maxsize=CONNECTIONS)
                    if proxy is None
                    else urllib3.ProxyManager(proxy, maxsize=CONNECTIONS)
                )
            return self._pools[proxy]


def _reason(error: NewConnectionError) -> str:
    cause = error.__cause__ or error.__context__
    strerror = cause.strerror if isinstance(cause, OSError) else None
    return (strerror or str(error)).lower()


def read_into(answer: urllib3.BaseHTTPResponse, sink: memoryview) -> Iterator[int]:
    """Copy the body to ``sink`` as far as it fits, saying after each part how far it is filled."""
    got = 0
    while got < len(sink) and (part := answer.read(READ_NBYTES, decode_content=False)):
        room = sink[got : got + len(part)]
        room[:] = part[: len(room)]
        got += len(room)
        yield got
