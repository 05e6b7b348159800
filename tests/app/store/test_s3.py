"""The S3 store keeps the contract on a real S3 server."""

import uuid
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest

from app.store.contract import ObjectStore, StoreRefused, StoreUnavailable
from app.store.keys import object_key, staging_key
from app.store.retry import RetryPolicy
from app.store.s3 import S3Store
from app.store.s3_location import S3Location
from tests.app.store.contract import MIB, StoreContract
from tests.fixtures.services import S3Server, free_port

ONE_TRY = RetryPolicy(tries=1)


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3_server: S3Server) -> Iterator[S3Store]:
        self.location = S3Location.parse(s3_server.url(f"clade-{uuid.uuid4().hex[:12]}", "hub"))
        store = S3Store(
            self.location, access_key=s3_server.access_key, secret_key=s3_server.secret_key
        )
        store.ensure_bucket()
        self.back_door = boto3.client(
            "s3",
            endpoint_url=s3_server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
        )
        yield store
        self.back_door.close()
        store.close()

    def left_behind(self) -> list[str]:
        uploads = self.back_door.list_multipart_uploads(Bucket=self.location.bucket)
        return [upload["Key"] for upload in uploads.get("Uploads", [])]

    def test_objects_lie_under_the_prefix(self, store: ObjectStore):
        key = object_key("e1")
        store.put(key, [b"bytes"])
        listed = self.back_door.list_objects_v2(Bucket=self.location.bucket)["Contents"]
        assert [entry["Key"] for entry in listed] == [f"hub/{key}"]

    def test_ensure_bucket_twice(self, store: S3Store):
        store.put("o/a", [b"1"])
        store.ensure_bucket()
        assert store.stat("o/a") is not None

    def test_presigned_get_gives_the_range(self, store: ObjectStore):
        key = object_key("e1")
        store.put(key, [b"0123456789"])
        request = store.presign_get(key, start=2, stop=5, expires_s=60)
        answer = httpx.request(request.method, request.url, headers=request.headers)
        assert (answer.status_code, answer.content) == (206, b"234")

    def test_presigned_get_signs_the_range(self, store: ObjectStore):
        request = store.presign_get(object_key("e1"), start=2, stop=5, expires_s=90)
        query = parse_qs(urlsplit(request.url).query)
        assert query["X-Amz-SignedHeaders"] == ["host;range"]
        assert query["X-Amz-Expires"] == ["90"]

    def test_presigned_put_stores_and_signs_the_length(self, store: ObjectStore):
        key = staging_key("e1")
        request = store.presign_put(key, nbytes=4, expires_s=60)
        query = parse_qs(urlsplit(request.url).query)
        assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
        answer = httpx.request(
            request.method, request.url, headers=request.headers, content=b"sent"
        )
        assert answer.status_code == 200
        assert store.read(key, 0, 4) == b"sent"

    def test_unfinished_puts_are_listed_and_given_up(self, store: ObjectStore):
        key = object_key("e1")
        bucket = self.location.bucket
        self.back_door.create_multipart_upload(Bucket=bucket, Key=f"hub/{key}")
        self.back_door.create_multipart_upload(Bucket=bucket, Key="elsewhere")
        assert list(store.list_unfinished("o/e2/")) == []
        [found] = store.list_unfinished("o/e1/")
        assert found.key == key
        for _ in range(2):
            store.give_up(found)
        assert self.left_behind() == ["elsewhere"]

    def test_parts_of_a_file_are_sized_to_the_file(self, store: ObjectStore, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(bytes(20 * MIB))
        key = object_key("e1")
        store.put_file(key, path)
        head = self.back_door.head_object(Bucket=self.location.bucket, Key=f"hub/{key}")
        assert head["ETag"].strip('"').endswith("-3")


def test_presigned_urls_name_the_public_endpoint():
    location = S3Location("bucket", endpoint="http://s3:9000", public_endpoint="https://pub.test")
    store = S3Store(location, access_key="key", secret_key="secret")
    request = store.presign_get("o/a", start=0, stop=1, expires_s=60)
    assert request.url.startswith("https://pub.test/bucket/o/a?")
    store.close()


def test_missing_bucket_is_refused_not_retried(s3_server: S3Server):
    location = S3Location.parse(s3_server.url("clade-no-such-bucket"))
    store = S3Store(location, access_key="test", secret_key="test")
    with pytest.raises(StoreRefused, match="NoSuchBucket"):
        store.put("o/a", [b"x"])
    store.close()


def test_unreachable_server_is_unavailable():
    location = S3Location("bucket", endpoint=f"http://127.0.0.1:{free_port()}")
    store = S3Store(location, access_key="test", secret_key="test", parts=ONE_TRY)
    for ask in (
        lambda: store.put("o/a", [b"x"]),
        lambda: store.read("o/a", 0, 1),
        lambda: store.stat("o/a"),
        lambda: store.delete("o/a"),
        lambda: list(store.list()),
        lambda: store.put("o/a", [bytes(30 * MIB)]),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            ask()
        assert raised.value.transient
    store.close()
