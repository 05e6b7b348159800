"""A hub over HTTP: typed answers, typed errors, retries, and a count of what crossed the wire."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from urllib3 import BaseHTTPResponse

from client.errors import (
    BadAnswer,
    BadEndpoint,
    NoConnection,
    Refused,
    StaleLocation,
    Unreachable,
)
from client.patience import Patience
from client.plan import Extent, RestorePlan
from client.wire import Wire, read_into

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
GONE = frozenset({403, 404, 410})
DAMAGED = "Damaged"
"""X-Error-Code of stored bytes that fail their checks: asking again does not help."""

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class RepoName:
    """A repository. ``type`` is model, dataset or space; ``id`` is ``owner/name``."""

    type: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``owner/name``, ``datasets/owner/name`` or ``spaces/owner/name``."""
        prefix, _, rest = text.partition("/")
        if prefix in {"datasets", "spaces", "models"} and "/" in rest:
            return cls(prefix.removesuffix("s"), rest)
        return cls("model", text)

    @property
    def api_path(self) -> str:
        """``models/owner/name``."""
        return f"{self.type}s/{self.id}"

    @property
    def file_path(self) -> str:
        """What precedes ``/resolve``."""
        return self.id if self.type == "model" else self.api_path


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a revision. ``sha256`` is None for a regular git blob, known by ``oid`` alone."""

    path: str
    nbytes: int
    oid: str
    sha256: bytes | None


class HubClient:
    """One hub. Thread-safe. Every method raises Unreachable, Refused or BadAnswer.

    Raises BadEndpoint for an endpoint that is no http(s) URL.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        timeout_s: float = 30,
        patience: Patience | None = None,
    ) -> None:
        self._endpoint = checked_endpoint(endpoint)
        self._authorization = {"authorization": f"Bearer {token}"} if token else {}
        self._wire = Wire(timeout_s)
        self._patience = patience or Patience()
        self._heard: set[str] = set()
        """Servers that answered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._wire.close()

    @property
    def wire_nbytes(self) -> int:
        """Body bytes received so far."""
        return self._wire.nbytes

    def commit_of(self, repo: RepoName, revision: str) -> str:
        """The commit that a revision names."""
        url = f"{self._endpoint}/api/{repo.api_path}/revision/{quote(revision, safe='')}"
        answer, _ = self._json(url)
        return _field(answer, "sha")

    def files(self, repo: RepoName, commit: str) -> list[RemoteFile]:
        """All files of a commit."""
        url: str | None = f"{self._endpoint}/api/{repo.api_path}/tree/{commit}?recursive=true"
        found: list[RemoteFile] = []
        while url is not None:
            rows, link = self._json(url)
            found += [_remote_file(row) for row in rows if row.get("type") == "file"]
            more = _NEXT.search(link)
            url = None if more is None else more[1]
        return found

    def plan(self, repo: RepoName, commit: str, path: str) -> RestorePlan:
        """The restore plan of a file."""
        url = f"{self._endpoint}/api/clade/{repo.api_path}/plan/{commit}/{quote(path)}"
        return RestorePlan.parse(self._json(url)[0])

    def storage(self, repo: RepoName, commit: str) -> dict[str, Any]:
        """How a commit is stored: files and tensors with their encodings and sizes."""
        url = f"{self._endpoint}/api/clade/{repo.api_path}/storage/{commit}"
        return _object(self._json(url)[0])

    def explain(
        self, repo: RepoName, *, without: str, target: str, rebase: bool = False
    ) -> dict[str, Any]:
        """What a repository stores, and what a removal, or a re-base, would free."""
        query = urlencode({"without": without, "target": target, "rebase": str(rebase).lower()})
        url = f"{self._endpoint}/api/clade/{repo.api_path}/explain?{query}"
        return _object(self._json(url)[0])

    def explain_file(self, repo: RepoName, revision: str, path: str) -> dict[str, Any]:
        """The tensors of a file: what each is stored against, who holds it, who needs it."""
        where = f"{quote(revision, safe='')}/{quote(path)}"
        return _object(self._json(f"{self._endpoint}/api/clade/{repo.api_path}/explain/{where}")[0])

    def read_file(
        self, repo: RepoName, commit: str, path: str, start: int, sink: memoryview
    ) -> None:
        """Fill ``sink`` with the bytes of a file from ``start`` on, decoded by the hub."""
        url = f"{self._endpoint}/{repo.file_path}/resolve/{commit}/{quote(path)}"
        self._fill(url, start, sink, self._authorization, stale=frozenset())

    def read_extent(self, extent: Extent, start: int, sink: memoryview) -> None:
        """Fill ``sink`` with stored bytes from ``start`` on.

        An extent with headers of its own is only served whole. Raises StaleLocation when the URL
        has expired or the bytes have moved.
        """
        self._fill(extent.url, start, sink, extent.headers, stale=GONE)

    def _fill(
        self,
        url: str,
        start: int,
        sink: memoryview,
        headers: Mapping[str, str],
        *,
        stale: frozenset[int],
    ) -> None:
        """Ranged GET that goes on where it broke off; failures count only while nothing comes."""
        got, failures = 0, 0
        fixed = "range" in {name.lower() for name in headers}
        while got < len(sink):
            got = 0 if fixed else got
            before = got
            ranged = {} if fixed else {"range": f"bytes={start + got}-{start + len(sink) - 1}"}
            try:
                with self._answer(url, {**headers, **ranged}, stale) as answer:
                    _check_range(answer, url, start + got, fixed)
                    for filled in read_into(answer, sink[before:]):
                        got = before + filled
                if got < len(sink):
                    raise Unreachable("the answer ended early")
            except Unreachable as error:
                failures = 1 if got > before else failures + 1
                if self._is_lost(url, error, failures):
                    raise Unreachable(f"{_server(url)} does not deliver: {error}") from error
                self._patience.wait(failures)

    @contextmanager
    def _answer(
        self, url: str, headers: Mapping[str, str], stale: frozenset[int]
    ) -> Iterator[BaseHTTPResponse]:
        """A successful answer whose body is still to come."""
        with self._wire.get(url, headers) as answer:
            self._heard.add(_server(url))
            if answer.status >= 300:
                answer.drain_conn()
                raise self._refusal(answer, url, stale)
            yield answer

    def _json(self, url: str) -> tuple[Any, str]:
        """The body and the Link header of an API answer."""
        failures = 0
        while True:
            try:
                with self._answer(url, self._authorization, frozenset()) as answer:
                    return answer.json(), answer.headers.get("link", "")
            except Unreachable as error:
                failures += 1
                if self._is_lost(url, error, failures):
                    raise Unreachable(f"{_server(url)} does not answer: {error}") from error
                self._patience.wait(failures)
            except ValueError as error:
                raise BadAnswer(f"{_server(url)} did not answer with JSON") from error

    def _is_lost(self, url: str, error: Unreachable, failures: int) -> bool:
        """Whether trying again is no use."""
        absent = isinstance(error, NoConnection) and _server(url) not in self._heard
        return absent or failures >= self._patience.tries

    def _refusal(
        self, answer: BaseHTTPResponse, url: str, stale: frozenset[int]
    ) -> Unreachable | Refused:
        status, code = answer.status, answer.headers.get("x-error-code", "")
        told = answer.headers.get("x-error-message") or answer.reason
        message = f"{told} ({status} from {_server(url)})"
        if status in RETRIED and code != DAMAGED:
            return Unreachable(message)
        if status == 401 and not self._authorization:
            message += "; if it is private, set HF_TOKEN or pass --token"
        return (StaleLocation if status in stale else Refused)(message, status=status, code=code)


def checked_endpoint(endpoint: str) -> str:
    """The address of a hub without a slash at its end. Raises BadEndpoint."""
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise BadEndpoint(
            f"{endpoint!r} is no address of a hub; write http:// or https://, a host and its port"
        )
    return endpoint.rstrip("/")


def _check_range(answer: BaseHTTPResponse, url: str, start: int, fixed: bool) -> None:
    if fixed or (answer.status == 200 and start == 0):
        return
    sent = answer.headers.get("content-range", "")
    if answer.status != 206 or not sent.startswith(f"bytes {start}-"):
        raise BadAnswer(f"{_server(url)} does not serve ranges")


def _remote_file(row: Mapping[str, Any]) -> RemoteFile:
    lfs = row.get("lfs")
    try:
        sha256 = None if lfs is None else bytes.fromhex(lfs["oid"])
        return RemoteFile(str(row["path"]), int(row["size"]), str(row["oid"]), sha256)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"the file listing makes no sense: {error!r}") from error


def _object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BadAnswer("the hub's answer is no object")
    return answer


def _field(answer: Any, name: str) -> str:
    if not isinstance(answer, dict) or not isinstance(answer.get(name), str):
        raise BadAnswer(f"the hub's answer has no {name}")
    return answer[name]


def _server(url: str) -> str:
    """Host and port, without the credentials that a URL may hold."""
    return urlsplit(url).netloc.rpartition("@")[2]
