"""What a client says when the hub is not there, not well, or says no; and how long it insists."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client.errors import BadEndpoint, Refused, Unreachable
from client.hub import HubClient, RepoName
from client.patience import Patience

REPO = RepoName("model", "ann/toy")


@dataclass(frozen=True, slots=True)
class CountedPatience(Patience):
    """Does not sleep; counts."""

    waits: list[int] = field(default_factory=list)

    def wait(self, failures: int) -> None:
        self.waits.append(failures)


class _Handler(BaseHTTPRequestHandler):
    statuses: list[int]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def do_GET(self) -> None:
        body = b'{"sha": "abc"}'
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.send_header("X-Error-Message", "Repository not found")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ScriptedServer(ThreadingHTTPServer):
    """Answers with ``statuses`` in turn, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        handler = type("Handler", (_Handler,), {"statuses": self.statuses})
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    thread = threading.Thread(target=scripted.serve_forever)
    thread.start()
    yield scripted
    scripted.stop()
    thread.join()


def test_server_that_is_not_there_is_named_and_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        name = f"127.0.0.1:{free.getsockname()[1]}"
    patience = CountedPatience()

    with (
        HubClient(f"http://ann:geheim@{name}/", patience=patience) as client,
        pytest.raises(Unreachable) as failed,
    ):
        client.commit_of(REPO, "main")

    assert str(failed.value) == f"{name} does not answer: connection refused"
    assert patience.waits == []


def test_server_that_went_away_is_waited_for(server: ScriptedServer) -> None:
    patience = CountedPatience(tries=4)

    with HubClient(server.url, patience=patience) as client:
        client.commit_of(REPO, "main")
        server.stop()
        with pytest.raises(Unreachable, match=f"{server.name} does not answer"):
            client.commit_of(REPO, "main")

    assert patience.waits == [1, 2, 3]


def test_busy_server_is_asked_again(server: ScriptedServer) -> None:
    server.statuses += [503, 429]
    patience = CountedPatience()

    with HubClient(server.url, patience=patience) as client:
        assert client.commit_of(REPO, "main") == "abc"

    assert patience.waits == [1, 2]


def test_server_that_stays_busy_is_given_up(server: ScriptedServer) -> None:
    server.statuses += [503] * 9
    patience = CountedPatience(tries=3)

    with (
        HubClient(server.url, patience=patience) as client,
        pytest.raises(Unreachable, match=f"503 from {server.name}"),
    ):
        client.commit_of(REPO, "main")

    assert patience.waits == [1, 2]


@pytest.mark.parametrize(("token", "hinted"), [(None, True), ("hf_some", False)])
def test_refusal_without_a_token_says_how_to_send_one(
    server: ScriptedServer, token: str | None, hinted: bool
) -> None:
    server.statuses.append(401)

    with HubClient(server.url, token=token) as client, pytest.raises(Refused) as refused:
        client.commit_of(REPO, "main")

    assert "Repository not found" in str(refused.value)
    assert ("set HF_TOKEN or pass --token" in str(refused.value)) is hinted


@pytest.mark.parametrize(
    "endpoint", ["localhost:8000", "localhost", "", "http://", "ftp://host", "http://host:port"]
)
def test_endpoint_that_is_no_url_is_refused_by_name(endpoint: str) -> None:
    with pytest.raises(BadEndpoint, match="http://") as refused:
        HubClient(endpoint)

    assert repr(endpoint) in str(refused.value)


def test_waits_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("client.patience.time.sleep", slept.append)

    for failures in range(1, 7):
        Patience(first_wait_s=1, longest_wait_s=8).wait(failures)

    assert len(slept) == 6
    for most, each in zip([1, 2, 4, 8, 8, 8], slept, strict=True):
        assert most / 2 <= each <= most
