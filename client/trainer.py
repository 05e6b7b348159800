"""A hub as trainers know it: jobs claimed, reported on, handed in and ended.

Every write carries the fence of its claim; one that is over raises LeaseLost, and nothing was
written. All calls may be sent twice.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from client.errors import BadAnswer, LeaseLost, Refused, Unreachable
from client.hub import RETRIED, checked_endpoint
from client.patience import Patience

CHUNK_NBYTES = 1 << 20
CONNECT_S = 10.0
SLOWEST_NBYTES_S = 10e6
"""At which a hub is expected to store a file at least."""

Wanted = Literal["run", "pause", "gone"]
Ending = Literal["queued", "paused", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Work:
    """Jobs of one base that nobody trains; times in seconds since the epoch."""

    base: str
    commit: str
    full: bool
    jobs: int
    priority: int
    waiting_since: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A job, ours for ``lease_s`` seconds from every report on. ``token`` opens its base.

    ``checkpoints``: steps of those that are kept, the newest first. ``suspect``: its last trainer
    was lost with it.
    """

    job: str
    fence: int
    lease_s: float
    token: str
    base: str
    commit: str
    target: str
    request: Mapping[str, Any]
    training_file: str
    validation_file: str | None
    checkpoints: Sequence[int]
    suspect: bool
    created_at: float
    steps: int


@dataclass(frozen=True, slots=True)
class Report:
    """How far a job is. ``beat`` counts the reports of a claim, from 1 on."""

    job: str
    fence: int
    beat: int
    steps: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    running: bool = False
    events: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Place:
    """A repository that a form of a result goes to."""

    repo: str
    form: Literal["adapter", "merged", "full"]


class TrainerClient:
    """One hub. Thread-safe. Methods raise Unreachable, Refused, LeaseLost or BadAnswer."""

    def __init__(
        self, endpoint: str, token: str, *, timeout_s: float = 60, patience: Patience | None = None
    ) -> None:
        self.endpoint = checked_endpoint(endpoint)
        self._headers = {"authorization": f"Bearer {token}", "user-agent": "clade-trainer"}
        self._pool = urllib3.PoolManager(maxsize=8)
        self._timeout_s = timeout_s
        self._patience = patience or Patience()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pool.clear()

    def work(self) -> list[Work]:
        """Bases with jobs that nobody trains."""
        return [Work(**each) for each in self._json("GET", "work")["work"]]

    def claim_unread(self, holder: str) -> Claim | None:
        """Take a job whose files nobody looked at yet."""
        claims = self._json("POST", "claims", {"holder": holder})["claims"]
        return Claim(**claims[0]) if claims else None

    def claim(self, holder: str, base: str, commit: str, *, full: bool, most: int) -> list[Claim]:
        """Take jobs of a base."""
        asked = {"holder": holder, "base": base, "commit": commit, "full": full, "most": most}
        return [Claim(**each) for each in self._json("POST", "claims", asked)["claims"]]

    def gone(self, holder: str) -> int:
        """A process that took jobs is dead; how many are free for that."""
        return self._json("POST", "gone", {"holder": holder})["jobs"]

    def beat(self, reports: Sequence[Report]) -> dict[str, Wanted]:
        """Report on jobs; what is wanted of each. Sent once: the next one says it all."""
        body = {"reports": [asdict(each) for each in reports]}
        answers = self._json("POST", "beats", body, tries=1)["answers"]
        return {each["job"]: each["wanted"] for each in answers}

    def valid(self, claim: Claim) -> None:
        """The job's files are fit to train on; the claim is over."""
        self._json("POST", f"jobs/{claim.job}/valid", {"fence": claim.fence})

    def fetch_data(self, claim: Claim, which: Literal["training", "validation"], to: Path) -> None:
        """Write one of the job's files to a path."""
        self._fetch(f"jobs/{claim.job}/files/{which}", claim, to)

    def fetch_checkpoint(self, claim: Claim, step: int, to: Path) -> None:
        """Write a state to go on from to a path."""
        self._fetch(f"jobs/{claim.job}/checkpoints/{step}", claim, to)

    def keep_checkpoint(
        self, claim: Claim, step: int, path: Path, metrics: Mapping[str, Any]
    ) -> None:
        """Hand in a state to go on from; it is durable when this returns."""
        query = {"metrics": json.dumps(metrics)}
        self._send(f"jobs/{claim.job}/checkpoints/{step}", claim, path, query)

    def keep_results(self, claim: Claim, path: Path) -> None:
        """Hand in the table of losses."""
        self._send(f"jobs/{claim.job}/results", claim, path, {})

    def publication(self, claim: Claim) -> list[Place]:
        """Where the result goes; the claim's token may write there from now on."""
        answer = self._json("POST", f"jobs/{claim.job}/publication", {"fence": claim.fence})
        return [Place(**each) for each in answer["places"]]

    def end(
        self,
        claim: Claim,
        status: Ending,
        *,
        error: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Leave a job, for now or for good."""
        body = {"fence": claim.fence, "status": status, "error": error, "result": result}
        self._json("POST", f"jobs/{claim.job}/end", body)

    def _fetch(self, path: str, claim: Claim, to: Path) -> None:
        def read(answer: urllib3.BaseHTTPResponse) -> None:
            with to.open("wb") as file:
                for part in answer.stream(CHUNK_NBYTES):
                    file.write(part)
            expected = int(answer.headers.get("content-length", "-1"))
            if to.stat().st_size != expected:
                raise Unreachable("the answer ended early")

        self._ask("GET", f"{path}?{urlencode({'fence': claim.fence})}", read)

    def _send(self, path: str, claim: Claim, file: Path, query: Mapping[str, str]) -> None:
        where = f"{path}?{urlencode({'fence': claim.fence, **query})}"
        self._ask("PUT", where, lambda answer: answer.drain_conn(), file=file)

    def _json(
        self, method: str, path: str, body: Any = None, *, tries: int | None = None
    ) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def read(answer: urllib3.BaseHTTPResponse) -> None:
            try:
                found.append(answer.json())
            except ValueError as error:
                raise BadAnswer(f"{self.endpoint} did not answer with JSON") from error

        self._ask(method, path, read, body=body, tries=tries)
        return found[0]

    def _ask(
        self,
        method: str,
        path: str,
        read: Any,
        *,
        body: Any = None,
        file: Path | None = None,
        tries: int | None = None,
    ) -> None:
        """Ask until there is an answer of any use."""
        failures = 0
        while True:
            try:
                self._once(method, f"{self.endpoint}/api/clade/trainer/{path}", read, body, file)
            except Unreachable:
                failures += 1
                if failures >= (tries or self._patience.tries):
                    raise
                self._patience.wait(failures)
            else:
                return

    def _once(self, method: str, url: str, read: Any, body: Any, file: Path | None) -> None:
        headers = dict(self._headers)
        if body is not None:
            headers["content-type"] = "application/json"
        if file is not None:
            headers |= {
                "content-type": "application/octet-stream",
                "content-length": str(file.stat().st_size),
            }
        try:
            with nullcontext() if file is None else file.open("rb") as source:
                answer = self._pool.request(
                    method,
                    url,
                    body=source if file is not None else body and json.dumps(body),
                    headers=headers,
                    timeout=urllib3.Timeout(connect=CONNECT_S, read=self._patience_s(file)),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                try:
                    _check(answer, url)
                    read(answer)
                except BaseException:
                    answer.close()  # what is unread of it must not answer the next request
                    raise
                answer.release_conn()
        except HTTPError as error:
            raise Unreachable(f"{self.endpoint} does not answer: {error}") from error

    def _patience_s(self, file: Path | None) -> float:
        """The hub answers to a file when it has it on disk and has read it back."""
        return self._timeout_s + (file.stat().st_size / SLOWEST_NBYTES_S if file else 0.0)


def _check(answer: urllib3.BaseHTTPResponse, url: str) -> None:
    if answer.status < 300:
        return
    code = answer.headers.get("x-error-code", "")
    message = answer.headers.get("x-error-message") or answer.reason or ""
    answer.drain_conn()
    if code == "LeaseLost":
        raise LeaseLost(message)
    if answer.status in RETRIED:
        raise Unreachable(f"{message} ({answer.status} from {url.partition('/api/')[0]})")
    raise Refused(f"{message} ({answer.status})", status=answer.status, code=code)
