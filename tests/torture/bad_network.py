"""A proxy between the hub and its S3 server that does what networks and servers do, at random."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.torture.budget import Summary

ERROR = b"<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>"

FAULTS = {
    "error before the effect": 15,
    "error after the effect": 15,
    "slow down": 10,
    "no answer": 2,
    "slow drip": 10,
    "truncated answer": 15,
    "request done twice": 15,
    "answer sent twice": 10,
    "wrong bytes": 10,
}
"""What may happen, and how often one happens beside the others."""

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


class BadNetwork:
    """Passes requests on to ``upstream``; a share of them meets a fault."""

    def __init__(self, upstream: str, summary: Summary, *, share: float, silence_s: float) -> None:
        parsed = urlsplit(upstream)
        self.upstream = (str(parsed.hostname), int(parsed.port or 80))
        self.share = share
        self.silence_s = silence_s
        """How long "no answer" takes: longer than the client waits."""
        self._draws = random.Random(summary.seed)
        self._summary, self._lock = summary, threading.Lock()

    def fault(self, method: str) -> str | None:
        with self._lock:
            self._summary.count("requests")
            if self._draws.random() >= self.share:
                return None
            [fault] = self._draws.choices(list(FAULTS), weights=list(FAULTS.values()))
            if fault == "wrong bytes" and method != "GET":
                return None
            self._summary.count(fault)
            return fault

    def spoil(self, body: bytes) -> bytes:
        with self._lock:
            at = self._draws.randrange(len(body))
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@contextmanager
def bad_network(network: BadNetwork) -> Iterator[str]:
    """The proxy's endpoint, while the context lasts."""
    with served(type("Handler", (_Handler,), {"network": network})) as endpoint:
        yield endpoint


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The endpoint of a server on this machine, while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection of the hub's."""

    protocol_version = "HTTP/1.1"
    network: BadNetwork

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.network.fault(self.command)
        match fault:
            case "error before the effect":
                self._send(500, {}, ERROR)
                return
            case "slow down":
                self._send(503, {}, ERROR.replace(b"InternalError", b"SlowDown"))
                return
            case "no answer":
                time.sleep(self.network.silence_s)
                self.close_connection = True
                return
            case "request done twice":
                self._ask(body)
        status, headers, content = self._ask(body)
        if fault == "error after the effect":
            self._send(500, {}, ERROR)
        elif fault == "truncated answer":
            self._send(status, headers, content[: len(content) // 2], len(content) or 1)
            self.close_connection = True
        elif fault == "slow drip":
            self._drip(status, headers, content)
        elif fault == "wrong bytes" and content and status < 300:
            self._send(status, headers, self.network.spoil(content))
        else:
            self._send(status, headers, content)
            if fault == "answer sent twice":
                self._send(status, headers, content)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(*self.network.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            headers = {
                name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP
            }
            return answer.status, headers, answer.read()
        finally:
            upstream.close()

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, nbytes: int | None = None
    ) -> None:
        self._head(status, headers, len(body) if nbytes is None else nbytes)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drip(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, headers, len(body))
        step = len(body) // 8 + 1
        for at in range(0, len(body) if self.command != "HEAD" else 0, step):
            self.wfile.write(body[at : at + step])
            time.sleep(0.02)

    def _head(self, status: int, headers: dict[str, str], nbytes: int) -> None:
        self.send_response_only(status)
        length = nbytes
        for name, value in headers.items():
            if name.lower() == "content-length":
                length = int(value) if self.command == "HEAD" else nbytes
            else:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client had enough

    def log_message(self, *_args: object) -> None:
        """Silent."""


for _method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
    setattr(_Handler, f"do_{_method}", _Handler._answer)
