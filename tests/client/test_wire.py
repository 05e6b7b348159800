"""Requests as they go over the wire: proxies of the environment, counted bytes, typed failures."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client.errors import Unreachable
from client.wire import Wire, read_into

BODY = bytes(range(256)) * 12_000


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(302 if self.path.endswith("/moved") else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Asked", self.path)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path.endswith("/short"):
            self.wfile.write(BODY[:1000])
            self.close_connection = True
        else:
            self.wfile.write(BODY)


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire(timeout_s=30)
    yield wire
    wire.close()


def test_body_is_copied_and_counted(url, wire):
    sink = bytearray(len(BODY))
    with wire.get(f"{url}/file", {}) as answer:
        steps = list(read_into(answer, memoryview(sink)))
    assert bytes(sink) == BODY
    assert steps == sorted(steps)
    assert steps[-1] == wire.nbytes == len(BODY)


def test_what_exceeds_the_sink_is_left(url, wire):
    sink = bytearray(1000)
    with wire.get(f"{url}/file", {}) as answer:
        assert list(read_into(answer, memoryview(sink))) == [1000]
    assert bytes(sink) == BODY[:1000]


def test_redirect_is_an_answer(url, wire):
    with wire.get(f"{url}/moved", {}) as answer:
        assert answer.status == 302


def test_body_that_breaks_off_is_unreachable(url, wire):
    with (
        pytest.raises(Unreachable),
        wire.get(f"{url}/short", {}) as answer,
    ):
        list(read_into(answer, memoryview(bytearray(len(BODY)))))


def test_nobody_there_is_unreachable(wire):
    with pytest.raises(Unreachable), wire.get("http://127.0.0.1:1/", {}):
        pass


def test_proxy_of_the_environment_is_used(url, wire, monkeypatch):
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("no_proxy", "")
    with wire.get("http://hub.invalid/file", {}) as answer:
        assert answer.headers["X-Asked"] == "http://hub.invalid/file"
        answer.drain_conn()
    monkeypatch.setenv("no_proxy", "hub.invalid")
    with pytest.raises(Unreachable), wire.get("http://hub.invalid/file", {}):
        pass
