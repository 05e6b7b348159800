"""What the upstream says about a repo: the Hub's API from the outside.

Statuses become errors of the hub here; nothing that an answer says is taken on trust beyond its
shape.
"""

import json
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

_SHOWN_NBYTES = 200


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
        facts = json_object(answer.body, address)
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
        facts = json_object(answer.body, name)
        return _named(repo_type, facts.get("id"))


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


def json_object(body: bytes, what: object) -> dict[str, Any]:
    """An answer that has to be a JSON object. Raises UpstreamLied."""
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
