"""What servers get wrong, put between the S3 store and a real server by a s3_proxy."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from app.store import s3
from app.store.contract import ObjectMissing, StoreUnavailable
from app.store.retry import RetryPolicy
from app.store.s3 import S3Store
from app.store.s3_location import S3Location
from tests.app.store.contract import MIB
from tests.fixtures.s3_proxy import TRUNCATED, Rule, S3Proxy

FAILED_AFTER_ALL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"""


def dropped_answer(_answer: httpx.Response) -> tuple[int, bytes]:
    """The effect happened; the client is told of an error."""
    return 500, FAILED_AFTER_ALL


@pytest.fixture
def store(s3_proxy: S3Proxy) -> Iterator[S3Store]:
    location = S3Location(
        f"clade-{uuid.uuid4().hex[:12]}", endpoint=s3_proxy.endpoint, region="us-east-1"
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
    s3_proxy: S3Proxy, store: S3Store, rule: Rule, repeated: tuple[str, str]
):
    s3_proxy.rules.append(rule)
    before = s3_proxy.count(*repeated)
    assert store.put("o/a", chunks(50)) == 50 * MIB
    assert s3_proxy.rules == []
    assert s3_proxy.count(*repeated) - before == 2
    assert store.read("o/a", 49 * MIB - 1, 49 * MIB + 1) == bytes([48, 49])


def test_completion_that_says_200_and_fails_is_not_believed(s3_proxy: S3Proxy, store: S3Store):
    """Every time: the object does not exist, so the put must not say that it does."""

    def pretend(_answer: httpx.Response) -> tuple[int, bytes]:
        return 200, b"<CompleteMultipartUploadResult/>"

    s3_proxy.rules += [Rule("HEAD", "o/a", lambda _a: (404, b"")) for _ in range(4)]
    s3_proxy.rules += [Rule("POST", "uploadId", pretend) for _ in range(4)]
    with pytest.raises(StoreUnavailable, match="completed as None"):
        store.put("o/a", chunks(30))
    assert s3_proxy.count("DELETE", "uploadId") == 1


def test_part_that_keeps_failing_aborts_the_upload(s3_proxy: S3Proxy, store: S3Store):
    s3_proxy.rules += [Rule("PUT", "partNumber=2", None) for _ in range(4)]
    with pytest.raises(StoreUnavailable):
        store.put("o/a", chunks(50))
    assert store.stat("o/a") is None
    assert s3_proxy.count("DELETE", "uploadId") == 1


def test_answer_cut_off_is_unavailable(s3_proxy: S3Proxy, store: S3Store):
    store.put("o/a", [b"0123456789" * 1000])
    s3_proxy.rules.append(Rule("GET", "o/a", lambda answer: (answer.status_code, TRUNCATED)))
    with pytest.raises(StoreUnavailable):
        store.read("o/a", 0, 10_000)
    assert store.read("o/a", 0, 10) == b"0123456789"


def test_listing_with_a_date_that_is_none_is_unavailable(s3_proxy: S3Proxy, store: S3Store):
    """One wrong byte on the way: found by a long run of the bad network."""
    store.put("o/a", [b"0123456789"])

    def spoilt(answer: httpx.Response) -> tuple[int, bytes]:
        before, tag, after = answer.content.partition(b"<LastModified>")
        assert tag
        return 200, before + tag + after[:7] + b"," + after[8:]

    s3_proxy.rules.append(Rule("GET", "list-type=2", spoilt))
    with pytest.raises(StoreUnavailable, match="Invalid timestamp"):
        list(store.list())
    assert [stat.key for stat in store.list()] == ["o/a"]


def test_server_that_ignores_ranges_is_not_believed(s3_proxy: S3Proxy, store: S3Store):
    store.put("o/a", [b"0123456789"])
    s3_proxy.rules.append(Rule("GET", "o/a", lambda _answer: (200, b"0123456789")))
    with pytest.raises(StoreUnavailable, match="10 bytes for"):
        store.read("o/a", 2, 5)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_server_errors_are_transient(s3_proxy: S3Proxy, store: S3Store, status: int):
    s3_proxy.rules.append(Rule("GET", "o/a", lambda _answer: (status, b"")))
    with pytest.raises(StoreUnavailable) as raised:
        store.read("o/a", 0, 1)
    assert raised.value.transient
    with pytest.raises(ObjectMissing):
        store.read("o/a", 0, 1)


def test_corrupted_body_is_refused_by_the_server(s3_proxy: S3Proxy, store: S3Store, monkeypatch):
    """The MD5 that goes with each body lets the server see what the wire did to it."""
    right = s3._body
    monkeypatch.setattr(s3, "_body", lambda data: {**right(data), "Body": b"X" + data[1:]})
    with pytest.raises(StoreUnavailable, match="BadDigest"):
        store.put("o/a", [b"0123456789"])
    assert store.stat("o/a") is None
