"""Many writers on one branch, parents that only one can have, and answers that nobody gets."""

import base64
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from app.catalog.git_objects import blob_oid
from app.settings import Settings
from tests.torture.bad_network import served
from tests.torture.budget import Summary, budget, piece_s, told
from tests.torture.stack import TOKEN, Nursery, Stack, running_stack

WRITERS = 16
SENDERS = 4
REPO = "/api/models/alice/crowd"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}

STACKS = pytest.mark.parametrize("running", ["embedded", "production"], indirect=True)


@pytest.fixture
def running(
    request: pytest.FixtureRequest, nursery: Nursery, tmp_path: Path
) -> Iterator[tuple[str, Stack]]:
    """A hub of real processes, and its name."""
    settings: Settings = request.getfixturevalue(f"{request.param}_settings")
    with running_stack(nursery, settings, tmp_path, None) as stack:
        yield request.param, stack


@contextmanager
def client_of(url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        yield client


def commit(
    client: httpx.Client, path: str, content: bytes, parent: str | None = None
) -> httpx.Response:
    header = {"summary": path} | ({} if parent is None else {"parentCommit": parent})
    text = base64.b64encode(content).decode()
    file = {"path": path, "content": text, "encoding": "base64"}
    lines = [{"key": "header", "value": header}, {"key": "file", "value": file}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    return client.post(f"{REPO}/commit/main", content=body)


def listed(client: httpx.Client, url: str) -> Iterator[dict[str, str]]:
    """The entries of all pages."""
    while url:
        answer = client.get(url).raise_for_status()
        yield from answer.json()
        url = answer.links.get("next", {}).get("url", "")


def assert_each_once(
    client: httpx.Client, made: dict[str, str], contents: dict[str, bytes]
) -> None:
    """The branch is one line of exactly these commits, and has exactly these files."""
    line = [each["id"] for each in listed(client, f"{REPO}/commits/main?limit=1000")]
    assert len(line) == len(made) + 1, "the first is the repository's own"
    assert sorted(line[:-1]) == sorted(made.values())
    tree = listed(client, f"{REPO}/tree/main?recursive=true")
    files = {each["path"]: each["oid"] for each in tree if each["type"] == "file"}
    del files[".gitattributes"]
    assert files == {path: blob_oid(content) for path, content in contents.items()}


@pytest.mark.attacks
@pytest.mark.timeout(0)
@STACKS
def test_writers_of_one_branch(running: tuple[str, Stack], tell: Callable[[str], None]):
    """Each commit that was acknowledged is in the history once, and nothing else is."""
    mode, stack = running
    made: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    times: list[float] = []
    ends = time.monotonic() + piece_s()

    def write(writer: int) -> None:
        with client_of(stack.url) as client:
            for number in range(budget("COMMITS", short=10, long=1000)):
                if time.monotonic() > ends:
                    return
                path = f"w{writer}/{number // 100}/{number}.txt"
                content = f"{writer} {number}".encode()
                begun = time.monotonic()
                answer = commit(client, path, content).raise_for_status()
                times.append(time.monotonic() - begun)
                made[path], contents[path] = answer.json()["commitOid"], content

    with told(f"commits, {mode}", tell) as summary, client_of(stack.url) as client:
        client.post("/api/repos/create", json={"name": "crowd"}).raise_for_status()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        summary.count("commits", len(made))
        summary.count(
            "ms for 99 of 100 at most", round(sorted(times)[len(times) * 99 // 100] * 1e3)
        )
        assert_each_once(client, made, contents)
        for _ in range(budget("HEADS", short=5, long=250)):
            one_winner(client, stack.url, summary)


def one_winner(client: httpx.Client, url: str, summary: Summary) -> None:
    """Of all writers that name the same parent, one commits."""
    newest = next(listed(client, f"{REPO}/commits/main?limit=1"))
    together = threading.Barrier(WRITERS)

    def write(writer: int) -> int:
        with client_of(url) as each:
            together.wait()
            return commit(each, f"{writer}.txt", newest["id"].encode(), newest["id"]).status_code

    with ThreadPoolExecutor(WRITERS) as pool:
        statuses = sorted(pool.map(write, range(WRITERS)))
    assert statuses == [200] + [412] * (WRITERS - 1)
    summary.count("heads with one winner")


@pytest.mark.attacks
@pytest.mark.timeout(0)
@STACKS
def test_answers_that_get_lost(running: tuple[str, Stack], tell: Callable[[str], None]):
    """Who asks again after the connection broke finds what was done, behind others as well."""
    mode, stack = running
    made: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    most = budget("LOST_ANSWERS", short=20, long=1000)

    def send(sender: int) -> None:
        draws = random.Random(sender)
        with client_of(deaf) as client:
            for number in range(most // SENDERS):
                path, content = f"s{sender}/{number}.txt", draws.randbytes(50)
                with pytest.raises(httpx.RemoteProtocolError):
                    commit(client, path, content)
                answer = commit(client, path, content).raise_for_status()
                made[path], contents[path] = answer.json()["commitOid"], content

    with (
        told(f"lost answers, {mode}", tell) as summary,
        client_of(stack.url) as client,
        without_first_answers(stack.url) as deaf,
    ):
        client.post("/api/repos/create", json={"name": "crowd"}).raise_for_status()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send, range(SENDERS)))
        summary.count("lost answers", len(made))
        assert_each_once(client, made, contents)


@contextmanager
def without_first_answers(url: str) -> Iterator[str]:
    """A proxy that passes every request on, and drops what is answered to a body at first."""
    seen, lock = set[bytes](), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = upstream.post(self.path, headers=dict(self.headers), content=body)
            with lock:
                is_first = body not in seen
                seen.add(body)
            if is_first:
                self.close_connection = True
                return
            self.send_response_only(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length", "content-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_args: object) -> None:
            """Silent."""

    with httpx.Client(base_url=url, timeout=120) as upstream, served(Handler) as endpoint:
        yield endpoint
