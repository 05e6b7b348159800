"""What comes before routes: endless heads, bodies of no certain length, unknown addresses."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.protocol import bounded_http
from app.hub import Hub
from app.serve import http_config
from app.settings import Settings, Timers
from tests.fixtures.api import ALICE_TOKEN, LiveHub, running_server

POST = "POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KNOWN = f"Authorization: Bearer {ALICE_TOKEN}\r\n"
"""Without it a POST is refused at its head, and what its body brings may come too late."""
ENDLESS = "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nTrailer: "
GET = "GET /healthz HTTP/1.1\r\nHost: x\r\n"


def ask(live_hub: LiveHub, *pieces: str) -> tuple[int, dict[str, str], dict]:
    """Send bytes as they are; status, headers and JSON of the first answer."""
    address = urlsplit(live_hub.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece.encode())
        except OSError:
            pass  # refused while we were still sending
        answer = connection.makefile("rb")
        status = int(answer.readline().split()[1])
        lines = iter(lambda: answer.readline().decode().strip(), "")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        return status, headers, json.loads(answer.read(int(headers["content-length"])))


def refused(answer: tuple[int, dict[str, str], dict], status: int, code: str) -> str:
    assert answer[0] == status
    assert answer[1]["x-error-code"] == code
    assert answer[1]["x-error-message"] == answer[2]["error"]
    assert answer[1]["x-request-id"]
    return answer[2]["error"]


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: -5\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: many\r\n\r\n{}",
        "Content-Length: 99999999999999999999999\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzzz\r\n\r\n",
        "Bad Header: x\r\n\r\n",
    ],
)
def test_bodies_of_no_certain_length_are_refused(live_hub: LiveHub, head: str) -> None:
    assert "Content-Length" in refused(ask(live_hub, POST + head), 400, "InvalidRequest")


@pytest.mark.parametrize("line", ["HELLO\r\n\r\n", "BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_is_not_http_is_refused(live_hub: LiveHub, line: str) -> None:
    refused(ask(live_hub, line), 400, "InvalidRequest")


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + "X-Long: " + "a" * 17_000 + "\r\n\r\n"],
        [GET + "".join(f"X-{number}: {'b' * 100}\r\n" for number in range(200)) + "\r\n"],
        [GET + "X-Endless: ", *["c" * 8_000] * 100],
        [POST + KNOWN + ENDLESS, *["d" * 8_000] * 100],
    ],
    ids=["long", "many", "endless", "trailer"],
)
def test_headers_beyond_their_limit_are_refused(live_hub: LiveHub, pieces: list[str]) -> None:
    message = refused(ask(live_hub, *pieces), 431, "LimitExceeded")
    assert "limits.http_head_nbytes" in message


def test_headers_below_their_limit_pass(live_hub: LiveHub) -> None:
    status, _, body = ask(live_hub, GET + "X-Long: " + "a" * 16_000 + "\r\n\r\n")
    assert (status, body) == (200, {"status": "ok"})


def test_who_says_nothing_or_never_ends_a_head_is_given_up(hub: Hub) -> None:
    """Each connection costs a descriptor, however slowly its head comes."""
    with impatient_server(hub, 2.0) as live_hub:
        address = urlsplit(live_hub.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as silent:
            message = refused(ask(live_hub, GET + "X-Slow: "), 408, "LimitExceeded")
            assert "timers.head_s" in message
            assert silent.recv(1) == b""


@contextmanager
def impatient_server(hub: Hub, head_s: float) -> Iterator[LiveHub]:
    """Serves with heads due so soon."""
    timers = hub.settings.timers.model_copy(update={"head_s": head_s})
    hub.settings = hub.settings.model_copy(update={"timers": timers})
    with running_server(hub) as url:
        yield LiveHub(hub, url, Path())


def test_a_head_sent_ahead_waits_for_the_answer_before_it() -> None:
    """The next request's head is as late as this one's answer: that is ours, not the client's."""

    async def play() -> tuple[list[bytes], list[bytes]]:
        transport, settings = Recorded(), Settings(timers=Timers(head_s=1000))
        protocol = bounded_http(settings)(
            http_config(answer_when_told, settings), ServerState(), {}, asyncio.get_running_loop()
        )
        protocol.connection_made(transport)
        protocol.data_received((GET + "\r\n" + GET + "X-Slow: ").encode())
        protocol._end_without_head()
        before = list(transport.written)
        told.set()
        await asyncio.gather(*protocol.tasks)
        protocol._end_without_head()
        return before, transport.written

    told = asyncio.Event()

    async def answer_when_told(_scope: Scope, _receive: Receive, send: Send) -> None:
        await told.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    before, after = asyncio.run(play())
    assert before == []
    assert [line for line in b"".join(after).split(b"\r\n") if b"HTTP/1.1" in line] == [
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 408 Request Timeout",
    ]


def test_a_request_that_has_its_answer_gets_no_second_one() -> None:
    """The next request of a client that pools connections would take it for its own."""

    async def play() -> list[bytes]:
        transport, settings = Recorded(), Settings()
        protocol = bounded_http(settings)(
            http_config(answer_at_once, settings), ServerState(), {}, asyncio.get_running_loop()
        )
        protocol.connection_made(transport)
        protocol.data_received((POST + ENDLESS).encode())
        await asyncio.gather(*protocol.tasks)
        protocol.data_received(b"d" * 20_000)
        return transport.written

    async def answer_at_once(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    written = b"".join(asyncio.run(play()))
    assert [line for line in written.split(b"\r\n") if b"HTTP/1.1" in line] == [
        b"HTTP/1.1 401 Unauthorized"
    ]


class Recorded(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.get_extra_info("socket").close()

    def resume_reading(self) -> None:
        """Nothing to resume."""


def test_long_urls_are_refused(live_hub: LiveHub) -> None:
    url = f"GET /{'a' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n"
    assert "limits.url_nbytes" in refused(ask(live_hub, url), 414, "LimitExceeded")


def test_upgrades_are_ignored(live_hub: LiveHub) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert ask(live_hub, GET + upgrade)[0] == 200


@pytest.mark.parametrize(
    "url",
    [
        "/api/nope",
        "/api/nope/at/all",
        "/metrics/x",
        "/a/b/c/d",
        "/favicon.ico",
        "/api/models/a/b/c",
    ],
)
def test_unknown_addresses_are_not_found(live_hub: LiveHub, url: str) -> None:
    for token in (None, live_hub.alice):
        answer = live_hub.http(token).get(url)
        assert answer.status_code == 404
        assert answer.headers["X-Error-Code"] == "NotFound"
        assert answer.json() == {"error": f"no such page: GET {url}"}


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/alice/model/resolve/main/a", "GET, HEAD"),
        ("GET", "/api/repos/create", "POST"),
        ("PATCH", "/api/models/alice/model", "GET"),
        ("PUT", "/api/models/alice/model/branch/b", "DELETE, POST"),
        ("OPTIONS", "/api/models/alice/model/refs", "GET"),
    ],
)
def test_other_methods_are_refused_with_those_allowed(
    live_hub: LiveHub, method: str, url: str, allowed: str
) -> None:
    answer = live_hub.http().request(method, url)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.headers["X-Error-Code"] == "MethodNotAllowed"
    assert answer.json() == {"error": f"{method} is not allowed here; use {allowed}"}


@pytest.mark.parametrize("url", ["/", "/healthz", "/readyz"])
def test_head_is_answered_where_people_probe(live_hub: LiveHub, url: str) -> None:
    answer = live_hub.http().head(url)
    assert (answer.status_code, answer.content) == (200, b"")
