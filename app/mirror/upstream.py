"""What the upstream says about a repo, and the bytes of its files: the Hub's API from the outside.

Statuses become errors of the hub here; nothing that an answer says is taken on trust beyond its
shape.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from app.accounts.names import check_name
from app.catalog.naming import RepoType
from app.errors import (
    EntryNotFound,
    GatedRepo,
    InvalidRequest,
    RepoNotFound,
    UpstreamDown,
    UpstreamLied,
)
from app.mirror.door import VIA, Door

INFO_NBYTES = 64 << 20
"""Longest description of a repo: the Hub lists every file in it."""

LFS_NBYTES = 64 << 10
LFS_HEADERS = {
    "accept": "application/vnd.git-lfs+json",
    "content-type": "application/vnd.git-lfs+json",
}

_SHOWN_NBYTES = 200
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class RepoAddress:
    """A repo on the upstream."""

    repo_type: RepoType
    namespace: str
    name: str

    @property
    def full_name(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def page(self) -> str:
        """Path of its page, which also is that of its git repository."""
        prefix = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"/{prefix}{self.full_name}"

    @property
    def api(self) -> str:
        """Path of its description."""
        return f"/api/{self.repo_type}s/{self.full_name}"


@dataclass(frozen=True, slots=True)
class RemoteRepo:
    """What the upstream says about a repo."""

    address: RepoAddress
    """By the name that it has there today."""
    restricted: bool
    """Whether it, or its files, are shown to some only."""
    etag: str | None


class Upstream:
    """Asks one upstream about repos and files. Thread-safe."""

    def __init__(self, door: Door, via: str) -> None:
        self.door = door
        self.headers = {VIA: via}
        """Told with every question: the hubs that it came through."""

    def describe(self, address: RepoAddress, etag: str | None = None) -> RemoteRepo | None:
        """The repo of this name; None if what was said with ``etag`` still holds.

        Raises RepoNotFound or GatedRepo if it is not for us, UpstreamDown, -Slow, -Lied.
        """
        asked = {"if-none-match": etag} if etag else {}
        headers = self.headers | asked
        answer = self.door.read(address.api, headers=headers, most_nbytes=INFO_NBYTES)
        if answer.status == 304 and etag:
            return None
        check_status(answer.status, answer.headers, f"about {address.full_name}", answer.body)
        facts = _json_object(answer.body, address)
        return RemoteRepo(
            address=_named(address.repo_type, facts.get("id")),
            # Whatever does not say that it is for all is not.
            restricted=facts.get("private") is not False or facts.get("gated") not in (False, None),
            etag=answer.headers.get("etag"),
        )

    def find_short(self, repo_type: RepoType, name: str) -> RepoAddress:
        """The repo that the upstream knows by a name without owner. Raises as :meth:`describe`."""
        path = f"/api/{repo_type}s/{quote(name, safe='')}"
        answer = self.door.read(path, headers=self.headers, most_nbytes=INFO_NBYTES)
        check_status(answer.status, answer.headers, f"about {name}", answer.body)
        facts = _json_object(answer.body, name)
        return _named(repo_type, facts.get("id"))

    @contextmanager
    def open_object(
        self, address: RepoAddress, sha256: bytes, nbytes: int, start: int
    ) -> Iterator[Iterator[bytes]]:
        """The bytes of an LFS object from ``start`` on; fewer, if the connection breaks.

        Asked for as git-lfs does, because that needs no commit and no path: source, its
        ``docs/api/batch.md``. Raises EntryNotFound, RepoNotFound, GatedRepo, UpstreamDown, -Slow,
        -Lied.
        """
        what = f"for object {sha256.hex()[:12]} of {address.full_name}"
        link = self._find_link(address, sha256, nbytes, what)
        headers = self.headers | {"range": f"bytes={start}-{nbytes - 1}"}
        with self.door.open("GET", link, headers=headers) as response:
            if response.status_code not in {200, 206}:
                check_status(response.status_code, response.headers, what)
            skip = _skipped(response, start, nbytes, what)
            yield _cut(self.door.body(response, within_s=None), skip, nbytes - start)

    def _find_link(self, address: RepoAddress, sha256: bytes, nbytes: int, what: str) -> str:
        question = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": sha256.hex(), "size": nbytes}],
        }
        answer = self.door.read(
            f"{address.page}.git/info/lfs/objects/batch",
            headers=self.headers | LFS_HEADERS,
            most_nbytes=LFS_NBYTES,
            content=json.dumps(question).encode(),
        )
        check_status(answer.status, answer.headers, what, answer.body)
        return _link_in(_json_object(answer.body, what), sha256, what)


def check_status(status: int, headers: httpx.Headers, what: str, body: bytes = b"") -> None:
    """Raise what a status of the upstream means to us; nothing for 200."""
    code = headers.get("x-error-code", "")
    said = _said(headers, body)
    if status == 200:
        return
    if code == "GatedRepo" or status == 403:
        raise GatedRepo(f"the upstream does not let this mirror in {what}{said}")
    if code in {"EntryNotFound", "RevisionNotFound"}:
        raise EntryNotFound(f"the upstream has nothing {what}{said}")
    if status in {401, 404, 410}:
        raise RepoNotFound("Repository not found, on the upstream either")
    if status == 429 or status >= 500:
        raise UpstreamDown(f"the upstream is in trouble: it answers {status} {what}{said}")
    raise UpstreamLied(f"the upstream answers {status} {what}, which is no answer{said}")


def _link_in(facts: dict[str, Any], sha256: bytes, what: str) -> str:
    """The address of the only object in an answer of git-lfs."""
    try:
        (found,) = facts["objects"]
        error = found.get("error")
        if error is not None:
            said = " ".join(str(error.get("message", ""))[:_SHOWN_NBYTES].split())
            raise EntryNotFound(f"the upstream has nothing {what}: {said}")
        link = found["actions"]["download"]["href"]
        if found["oid"] != sha256.hex() or not isinstance(link, str):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UpstreamLied(f"the upstream's answer {what} is none of git-lfs") from None
    return link


def _skipped(response: httpx.Response, start: int, nbytes: int, what: str) -> int:
    """How many bytes of the body lie before ``start``. Raises UpstreamLied for another file."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or [int(each) for each in match.groups()] != [start, nbytes - 1, nbytes]:
            raise UpstreamLied(
                f"the upstream was asked for bytes {start}-{nbytes - 1}/{nbytes} {what} and sends"
                f" {response.headers.get('content-range', 'no range')[:60]}"
            )
        return 0
    length = response.headers.get("content-length")
    if length is not None and length != str(nbytes):
        raise UpstreamLied(f"the upstream announces {length[:20]} bytes, not {nbytes}, {what}")
    return start


def _cut(chunks: Iterator[bytes], skip: int, nbytes: int) -> Iterator[bytes]:
    left = nbytes
    for chunk in chunks:
        part = chunk[skip:]
        skip = max(0, skip - len(chunk))
        if len(part) > left and skip == 0:
            if left:
                yield part[:left]
            return
        left -= len(part)
        if part:
            yield part
        if not left:
            return


def _json_object(body: bytes, what: object) -> dict[str, Any]:
    try:
        facts = json.loads(body)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise UpstreamLied(f"the upstream's answer about {what} is no JSON object")
    return facts


def _named(repo_type: RepoType, full_name: object) -> RepoAddress:
    namespace, slash, name = str(full_name).partition("/")
    try:
        check_name(namespace, "namespace")
        check_name(name, "name")
    except InvalidRequest:
        slash = ""
    if not slash:
        raise UpstreamLied(f"the upstream calls a repo {str(full_name)[:100]!a}: no name of one")
    return RepoAddress(repo_type, namespace, name)


def _said(headers: httpx.Headers, body: bytes) -> str:
    message = headers.get("x-error-message") or body[:_SHOWN_NBYTES].decode("utf-8", "replace")
    line = " ".join(message.split())
    return f": {line[:_SHOWN_NBYTES]}" if line and "<" not in line else ""
