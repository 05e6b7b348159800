"""Objects in an S3 bucket, by boto3: AWS and whatever speaks its protocol.

No step relies on preconditions or on the order of requests, which compatible servers ignore or
race. What a server acknowledges is compared with what was sent: every body carries its MD5, and a
completed multipart upload is looked at before it counts (CompleteMultipartUpload may answer 200
and yet fail). botocore's own retries are off, so that they do not multiply with ours.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from boto3.session import Session
from botocore.config import Config

from app.store.contract import (
    ObjectMissing,
    ObjectStat,
    ObjectStore,
    PresignedRequest,
    StoreUnavailable,
    UnfinishedPut,
)
from app.store.keys import check_key
from app.store.retry import RetryPolicy
from app.store.s3_errors import store_errors
from app.store.s3_location import S3Location
from app.store.s3_parts import STREAM_PART_NBYTES, cut, part_nbytes_for

T = TypeVar("T")

CONNECT_S = 3.0
ANSWER_S = 30.0
"""Longest silence of a connection."""

CONNECTIONS = 64


class S3Store(ObjectStore):
    """Objects under a prefix of a bucket."""

    can_presign = True

    def __init__(
        self,
        location: S3Location,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        parts: RetryPolicy | None = None,
    ) -> None:
        self._bucket = location.bucket
        self._prefix = location.prefix
        self._parts = parts or RetryPolicy()
        session = Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=location.region,
        )
        self._client = _client(session, location.endpoint)
        self._signer = (
            _client(session, location.public_endpoint) if location.public_endpoint else self._client
        )

    def ensure_bucket(self) -> None:
        """Create the bucket if there is none. Says nothing of whether we may use it."""
        try:
            self._call("head_bucket")
        except ObjectMissing:
            region = self._client.meta.region_name
            # us-east-1 is the default and, alone of all regions, must not be named.
            options: dict[str, Any] = {}
            if region not in (None, "us-east-1", "aws-global"):
                options["CreateBucketConfiguration"] = {"LocationConstraint": region}
            self._call("create_bucket", **options)

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """One PUT for what fits in a part, a multipart upload for more.

        A killed process leaves parts that no listing of objects shows, see :meth:`list_unfinished`.
        """
        return self._put_parts(key, cut(chunks, STREAM_PART_NBYTES), STREAM_PART_NBYTES)

    def put_file(self, key: str, path: Path) -> int:
        """As :meth:`put`; the file stays where it is."""
        part_nbytes = part_nbytes_for(path.stat().st_size)
        with path.open("rb") as stream:
            parts = cut(iter(lambda: stream.read(1 << 20), b""), part_nbytes)
            return self._put_parts(key, parts, part_nbytes)

    def read(self, key: str, start: int, stop: int) -> bytes:
        """One ranged GET."""
        if start == stop:
            return b""
        where = self._where(key)
        with store_errors(f"read {key}"):
            answer = self._client.get_object(**where, Range=f"bytes={start}-{stop - 1}")
            # A server that ignores Range would send everything: do not even begin to read that.
            if answer["ContentLength"] != stop - start:
                answer["Body"].close()
                raise StoreUnavailable(
                    f"{key}: {answer['ContentLength']} bytes for [{start}, {stop})"
                )
            data: bytes = answer["Body"].read()
        if len(data) != stop - start:
            raise StoreUnavailable(f"{key}: answer ended after {len(data)} of {stop - start} bytes")
        return data

    def stat(self, key: str) -> ObjectStat | None:
        """HEAD."""
        try:
            answer = self._call("head_object", key)
        except ObjectMissing:
            return None
        return ObjectStat(key, answer["ContentLength"])

    def delete(self, key: str) -> None:
        """DELETE; answered alike whether there was an object or not."""
        with suppress(ObjectMissing):
            self._call("delete_object", key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """ListObjectsV2, a page of up to 1,000 at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        page_iterator = iter(pages)
        while True:
            with store_errors(f"list {prefix}"):
                page = next(page_iterator, None)
            if page is None:
                return
            for entry in page.get("Contents", ()):
                yield ObjectStat(entry["Key"][len(self._prefix) :], entry["Size"])

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedPut]:
        """ListMultipartUploads, a page of up to 1,000 at a time."""
        with store_errors(f"list unfinished {prefix}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            found = [entry for page in pages for entry in page.get("Uploads", ())]
        for entry in found:
            yield UnfinishedPut(entry["Key"][len(self._prefix) :], entry["UploadId"])

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """AbortMultipartUpload."""
        with suppress(ObjectMissing):
            self._call("abort_multipart_upload", unfinished.key, UploadId=unfinished.id)

    def presign_get(self, key: str, *, start: int, stop: int, expires_s: float) -> PresignedRequest:
        """The Range header is part of the signature: no other part of a pack can be had with it."""
        byte_range = f"bytes={start}-{stop - 1}"
        url = self._sign("get_object", key, expires_s, Range=byte_range)
        return PresignedRequest("GET", url, {"Range": byte_range})

    def presign_put(self, key: str, *, nbytes: int, expires_s: float) -> PresignedRequest:
        """The length is part of the signature."""
        url = self._sign("put_object", key, expires_s, ContentLength=nbytes)
        return PresignedRequest("PUT", url, {"Content-Length": str(nbytes)})

    def close(self) -> None:
        """Close pooled connections."""
        self._client.close()
        self._signer.close()

    def _put_parts(self, key: str, parts: Iterator[bytearray], part_nbytes: int) -> int:
        first = next(parts)
        if len(first) < part_nbytes:
            self._call("put_object", key, **_body(first))
            return len(first)
        upload_id: str = self._retried("create_multipart_upload", key)["UploadId"]
        try:
            return self._put_multipart(key, upload_id, chain([first], parts))
        except BaseException as error:
            with suppress(StoreUnavailable):
                self.give_up(UnfinishedPut(key, upload_id))
            if isinstance(error, ObjectMissing):
                raise StoreUnavailable(f"{key}: the server lost the upload") from error
            raise

    def _put_multipart(self, key: str, upload_id: str, parts: Iterable[bytearray]) -> int:
        done: list[dict[str, Any]] = []
        nbytes = 0
        for number, part in enumerate(parts, start=1):
            answer = self._retried(
                "upload_part", key, UploadId=upload_id, PartNumber=number, **_body(part)
            )
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
            nbytes += len(part)

        def complete() -> None:
            # Lost answer: the upload is complete, and unknown to a second request.
            with suppress(ObjectMissing):
                self._call(
                    "complete_multipart_upload",
                    key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": done},
                )
            stat = self.stat(key)
            if stat is None or stat.nbytes != nbytes:
                raise StoreUnavailable(f"{key}: upload of {nbytes} bytes completed as {stat}")

        self._parts.call(complete)
        return nbytes

    def _retried(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        return self._parts.call(lambda: self._call(operation, key, **arguments))

    def _call(self, operation: str, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        where = {"Bucket": self._bucket} if key is None else self._where(key)
        method: Callable[..., dict[str, Any]] = getattr(self._client, operation)
        with store_errors(f"{operation} {key or self._bucket}"):
            return method(**where, **arguments)

    def _sign(self, operation: str, key: str, expires_s: float, **arguments: Any) -> str:
        where = self._where(key)
        with store_errors(f"presign {key}"):
            return self._signer.generate_presigned_url(
                operation,
                Params={**where, **arguments},
                ExpiresIn=max(1, round(expires_s)),
            )

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}


def _client(session: Session, endpoint: str | None) -> Any:
    return session.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            # The newer default checksums need trailers that compatible servers do not know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Compatible servers seldom have a host name per bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


def _body(data: bytearray) -> dict[str, Any]:
    checksum = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": base64.b64encode(checksum).decode()}
