"""The bytes of one big file of the upstream, asked for as git-lfs does.

That needs no commit and no path. Source: git-lfs, ``docs/api/batch.md`` and
``docs/api/basic-transfers.md``.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.errors import EntryNotFound, UpstreamLied
from app.mirror.door import VIA
from app.mirror.upstream import RepoAddress, Upstream, check_status, json_object

LFS_NBYTES = 64 << 10
LFS_HEADERS = {
    "accept": "application/vnd.git-lfs+json",
    "content-type": "application/vnd.git-lfs+json",
}
MOST_HEADERS = 16
EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What stores answer to a link that is too old; it is asked for again once."""

_SHOWN_NBYTES = 200
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = frozenset(
    "accept-encoding connection content-length expect host keep-alive proxy-authorization range te"
    f" trailer transfer-encoding upgrade user-agent {VIA}".split()
)
"""Headers that say how we talk, not who may: never the upstream's to choose."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a file's bytes are, and the headers that the place wants."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Body:
    """An answer's bytes, from the one on that was asked for."""

    chunks: Iterator[bytes]
    is_ranged: bool
    """False if the upstream sends whole files only: the chunks go on to the end of the file."""


class RemoteObject:
    """An LFS object of a repo on the upstream. Thread-safe; its link is asked for once."""

    def __init__(
        self, upstream: Upstream, address: RepoAddress, sha256: bytes, nbytes: int
    ) -> None:
        self._upstream = upstream
        self._address = address
        self._sha256 = sha256
        self._nbytes = nbytes
        self._what = f"for object {sha256.hex()[:12]} of {address.full_name}"
        self._lock = threading.Lock()
        self._link: Link | None = None

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Body]:
        """The bytes ``[start, stop)``; fewer, if the connection breaks.

        Raises EntryNotFound, RepoNotFound, GatedRepo, UpstreamDown, -Slow, -Lied.
        """
        link, is_fresh = self._find_link()
        with self._get(link, start, stop) as response:
            if response.status_code not in EXPIRED or is_fresh:
                yield self._body(response, start, stop)
                return
        with self._get(self._renewed(link), start, stop) as response:
            yield self._body(response, start, stop)

    @contextmanager
    def _get(self, link: Link, start: int, stop: int) -> Iterator[httpx.Response]:
        headers = self._upstream.headers | {"range": f"bytes={start}-{stop - 1}"}
        door = self._upstream.door
        with door.open("GET", link.url, headers=headers, for_host=link.headers) as response:
            yield response

    def _body(self, response: httpx.Response, start: int, stop: int) -> Body:
        if response.status_code not in {200, 206}:
            check_status(response.status_code, response.headers, self._what)
        is_ranged = response.status_code == 206
        if is_ranged:
            _check_range(response, start, stop, self._nbytes, self._what)
        else:
            _check_length(response, self._nbytes, self._what)
        chunks = self._upstream.door.body(response, within_s=None)
        return Body(chunks if is_ranged else _without(chunks, start), is_ranged)

    def _find_link(self) -> tuple[Link, bool]:
        """The link, and whether it was asked for just now."""
        with self._lock:
            is_fresh = self._link is None
            if self._link is None:
                self._link = self._ask()
            return self._link, is_fresh

    def _renewed(self, old: Link) -> Link:
        with self._lock:
            if self._link is None or self._link == old:
                self._link = self._ask()
            return self._link

    def _ask(self) -> Link:
        question = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": self._sha256.hex(), "size": self._nbytes}],
        }
        answer = self._upstream.door.read(
            f"{self._address.page}.git/info/lfs/objects/batch",
            headers=self._upstream.headers | LFS_HEADERS,
            most_nbytes=LFS_NBYTES,
            content=json.dumps(question).encode(),
        )
        check_status(answer.status, answer.headers, self._what, answer.body)
        return _link_in(json_object(answer.body, self._what), self._sha256, self._what)


def _link_in(facts: dict[str, Any], sha256: bytes, what: str) -> Link:
    """The link to the only object in an answer of git-lfs."""
    try:
        (found,) = facts["objects"]
        error = found.get("error")
        if error is not None:
            said = " ".join(str(error.get("message", ""))[:_SHOWN_NBYTES].split())
            raise EntryNotFound(f"the upstream has nothing {what}: {said}")
        action = found["actions"]["download"]
        link = action["href"]
        if found["oid"] != sha256.hex() or not isinstance(link, str):
            raise ValueError
        headers = _checked_headers(action.get("header") or {})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UpstreamLied(f"the upstream's answer {what} is none of git-lfs") from None
    return Link(link, headers)


def _checked_headers(headers: Any) -> dict[str, str]:
    """Headers of an action that may be sent, by lower-case name. Raises ValueError."""
    if len(headers) > MOST_HEADERS:
        raise ValueError
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError
    return {name.lower(): value for name, value in headers.items() if name.lower() not in _OURS}


def _check_range(response: httpx.Response, start: int, stop: int, nbytes: int, what: str) -> None:
    """Raise UpstreamLied for another range, or one of another file."""
    said = response.headers.get("content-range", "no range")
    match = _CONTENT_RANGE.fullmatch(said)
    if match is None or [int(each) for each in match.groups()] != [start, stop - 1, nbytes]:
        raise UpstreamLied(
            f"the upstream was asked for bytes {start}-{stop - 1}/{nbytes} {what} and sends"
            f" {said[:60]}"
        )


def _check_length(response: httpx.Response, nbytes: int, what: str) -> None:
    length = response.headers.get("content-length")
    if length is not None and length != str(nbytes):
        raise UpstreamLied(f"the upstream announces {length[:20]} bytes, not {nbytes}, {what}")


def _without(chunks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """The chunks less their first bytes."""
    for chunk in chunks:
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
