"""What servers get wrong, put between the S3 store and a real server by a proxy."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from app.store import s3
from app.store.contract import ObjectMissing, StoreUnavailable
from app.store.retry import RetryPolicy
from app.store.s3 import S3Store
from app.store.s3_location import S3Location
from tests.app.store.contract import MIB
from tests.fixtures.services import S3Server

FAILED_AFTER_ALL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"""

Alter = Callable[[httpx.Response], tuple[int, bytes]]


@dataclass
class Rule:
    """Meets the next request of this method whose target contains ``part``."""

    method: str
    part: str
    alter: Alter | None
    """Changes status and body of the answer; None: the request is dropped, not passed on."""


@dataclass
class Proxy:
    upstream: str
    rules: list[Rule] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    endpoint: str = ""

    def rule_for(self, method: str, target: str) -> Rule | None:
        with self.lock:
            self.seen.append((method, target))
            for rule in self.rules:
                if rule.method == method and rule.part in target:
                    self.rules.remove(rule)
                    return rule
        return None

    def count(self, method: str, part: str) -> int:
        return sum(1 for m, target in self.seen if m == method and part in target)


def handler_of(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            rule = proxy.rule_for(self.command, self.path)
            if rule is not None and rule.alter is None:
                self.close_connection = True
                return
            answer = httpx.request(
                self.command, proxy.upstream + self.path, headers=dict(self.headers), content=body
            )
            status, content = answer.status_code, answer.content
            if rule is not None and rule.alter is not None:
                status, content = rule.alter(answer)
            self.send_response_only(status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answer.headers.get("content-length", "0")
            if self.command != "HEAD":
                length = str(len(answer.content if content is TRUNCATED else content))
            self.send_header("Content-Length", length)
            self.end_headers()
            if content is TRUNCATED:
                self.wfile.write(answer.content[: len(answer.content) // 2])
                self.close_connection = True
            elif self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """Silent."""

    for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Handler, f"do_{method}", Handler.pass_on)
    return Handler


TRUNCATED = b"the first half of the answer, then the connection ends"


def dropped_answer(_answer: httpx.Response) -> tuple[int, bytes]:
    """The effect happened; the client is told of an error."""
    return 500, FAILED_AFTER_ALL


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    proxy = Proxy(s3_server.endpoint)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(proxy))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield proxy
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(proxy: Proxy) -> Iterator[S3Store]:
    location = S3Location(
        f"clade-{uuid.uuid4().hex[:12]}", endpoint=proxy.endpoint, region="us-east-1"
    )
    at_once = RetryPolicy(sleep=lambda _seconds: None)
    store = S3Store(location, access_key="test", secret_key="test", parts=at_once)
    store.ensure_bucket()
    yield store
    store.close()


def chunks(mib: int) -> Iterator[bytes]:
    return (bytes([n]) * MIB for n in range(mib))


@pytest.mark.parametrize(
    ("rule", "repeated"),
    [
        (Rule("POST", "uploads", None), ("POST", "uploads")),
        (Rule("PUT", "partNumber=1", None), ("PUT", "partNumber=1")),
        (Rule("PUT", "partNumber=2", dropped_answer), ("PUT", "partNumber=2")),
        (Rule("POST", "uploadId", None), ("POST", "uploadId")),
        (Rule("POST", "uploadId", dropped_answer), ("POST", "uploadId")),
        (Rule("POST", "uploadId", lambda _a: (200, FAILED_AFTER_ALL)), ("POST", "uploadId")),
        (Rule("HEAD", "", dropped_answer), ("HEAD", "/o/a")),
    ],
    ids=["create", "part", "part-after", "complete", "complete-after", "complete-200", "look"],
)
def test_multipart_step_that_fails_is_repeated(
    proxy: Proxy, store: S3Store, rule: Rule, repeated: tuple[str, str]
):
    proxy.rules.append(rule)
    before = proxy.count(*repeated)
    assert store.put("o/a", chunks(50)) == 50 * MIB
    assert proxy.rules == []
    assert proxy.count(*repeated) - before == 2
    assert store.read("o/a", 49 * MIB - 1, 49 * MIB + 1) == bytes([48, 49])


def test_completion_that_says_200_and_fails_is_not_believed(proxy: Proxy, store: S3Store):
    """Every time: the object does not exist, so the put must not say that it does."""

    def pretend(_answer: httpx.Response) -> tuple[int, bytes]:
        return 200, b"<CompleteMultipartUploadResult/>"

    proxy.rules += [Rule("HEAD", "o/a", lambda _a: (404, b"")) for _ in range(4)]
    proxy.rules += [Rule("POST", "uploadId", pretend) for _ in range(4)]
    with pytest.raises(StoreUnavailable, match="completed as None"):
        store.put("o/a", chunks(30))
    assert proxy.count("DELETE", "uploadId") == 1


def test_part_that_keeps_failing_aborts_the_upload(proxy: Proxy, store: S3Store):
    proxy.rules += [Rule("PUT", "partNumber=2", None) for _ in range(4)]
    with pytest.raises(StoreUnavailable):
        store.put("o/a", chunks(50))
    assert store.stat("o/a") is None
    assert proxy.count("DELETE", "uploadId") == 1


def test_answer_cut_off_is_unavailable(proxy: Proxy, store: S3Store):
    store.put("o/a", [b"0123456789" * 1000])
    proxy.rules.append(Rule("GET", "o/a", lambda answer: (answer.status_code, TRUNCATED)))
    with pytest.raises(StoreUnavailable):
        store.read("o/a", 0, 10_000)
    assert store.read("o/a", 0, 10) == b"0123456789"


def test_listing_with_a_date_that_is_none_is_unavailable(proxy: Proxy, store: S3Store):
    """One wrong byte on the way: found by a long run of the bad network."""
    store.put("o/a", [b"0123456789"])

    def spoilt(answer: httpx.Response) -> tuple[int, bytes]:
        before, tag, after = answer.content.partition(b"<LastModified>")
        assert tag
        return 200, before + tag + after[:7] + b"," + after[8:]

    proxy.rules.append(Rule("GET", "list-type=2", spoilt))
    with pytest.raises(StoreUnavailable, match="Invalid timestamp"):
        list(store.list())
    assert [stat.key for stat in store.list()] == ["o/a"]


def test_server_that_ignores_ranges_is_not_believed(proxy: Proxy, store: S3Store):
    store.put("o/a", [b"0123456789"])
    proxy.rules.append(Rule("GET", "o/a", lambda _answer: (200, b"0123456789")))
    with pytest.raises(StoreUnavailable, match="10 bytes for"):
        store.read("o/a", 2, 5)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_server_errors_are_transient(proxy: Proxy, store: S3Store, status: int):
    proxy.rules.append(Rule("GET", "o/a", lambda _answer: (status, b"")))
    with pytest.raises(StoreUnavailable) as raised:
        store.read("o/a", 0, 1)
    assert raised.value.transient
    with pytest.raises(ObjectMissing):
        store.read("o/a", 0, 1)


def test_corrupted_body_is_refused_by_the_server(proxy: Proxy, store: S3Store, monkeypatch):
    """The MD5 that goes with each body lets the server see what the wire did to it."""
    right = s3._body
    monkeypatch.setattr(s3, "_body", lambda data: {**right(data), "Body": b"X" + data[1:]})
    with pytest.raises(StoreUnavailable, match="BadDigest"):
        store.put("o/a", [b"0123456789"])
    assert store.stat("o/a") is None
