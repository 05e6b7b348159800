"""Pull a repository to a directory: stored bytes over the wire, decoding and verification here.

Beside the files, ``.clade/`` in the target directory keeps what an interrupted pull needs to go on
and which files are complete.
"""

import fcntl
import hashlib
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from client.complete import CompleteFiles
from client.errors import DamagedDownload, TargetRefused
from client.hub import HubClient, RemoteFile, RepoName
from client.local import LocalContents, default_cache_dir
from client.progress import Progress, PullProgress
from client.rebuild import HubFile, rebuild

STATE = ".clade"

PLANNED_NBYTES = 64 << 10
"""Files below this are fetched as they are: a plan would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did."""

    repo: str
    commit: str
    files: int
    skipped: int
    """Files that were complete before."""
    disk_nbytes: int
    """Size of all files of the revision that were wanted."""
    wire_nbytes: int
    """Body bytes received, plans and listings included."""


def pull(
    repo_id: str,
    *,
    to: Path,
    revision: str = "main",
    token: str | None = None,
    endpoint: str = "http://127.0.0.1:8000",
    repo_type: str = "model",
    threads: int = 4,
    allow: Sequence[str] = (),
    ignore: Sequence[str] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
    planned_nbytes: int = PLANNED_NBYTES,
) -> PullResult:
    """Make ``to`` hold the files of a revision, each verified against its SHA-256.

    ``repo_id`` is ``owner/name`` (or ``datasets/owner/name``). ``allow`` and ``ignore`` are shell
    patterns on paths. Files below ``planned_nbytes`` come as they are, without a codec. Files that
    are there already stay; other files in ``to`` are not touched. A
    pull that was interrupted, even by a kill, goes on where it was. Raises ClientError.
    """
    repo = RepoName.parse(repo_id) if repo_type == "model" else RepoName(repo_type, repo_id)
    with (
        HubClient(endpoint, token=token) as hub,
        _locked(to),
        LocalContents(cache or default_cache_dir()) as local,
        ThreadPoolExecutor(threads, thread_name_prefix="pull") as pool,
    ):
        commit = hub.commit_of(repo, revision)
        files = [f for f in hub.files(repo, commit) if is_wanted(f.path, allow, ignore)]
        pulling = _Pull(hub, repo, commit, to, local, pool, progress, planned_nbytes)
        skipped = pulling.run(files)
        return PullResult(
            repo=repo.id,
            commit=commit,
            files=len(files),
            skipped=skipped,
            disk_nbytes=sum(file.nbytes for file in files),
            wire_nbytes=hub.wire_nbytes,
        )


def is_wanted(path: str, allow: Sequence[str], ignore: Sequence[str]) -> bool:
    """Whether a path matches some pattern of ``allow`` (none: all do) and none of ``ignore``."""
    allowed = not allow or any(fnmatchcase(path, pattern) for pattern in allow)
    return allowed and not any(fnmatchcase(path, pattern) for pattern in ignore)


class _Pull:
    def __init__(
        self,
        hub: HubClient,
        repo: RepoName,
        commit: str,
        to: Path,
        local: LocalContents,
        pool: ThreadPoolExecutor,
        progress: Progress | None,
        planned_nbytes: int,
    ) -> None:
        self._planned_nbytes = planned_nbytes
        self._hub = hub
        self._repo = repo
        self._commit = commit
        self._to = to
        self._local = local
        self._pool = pool
        self._progress = progress
        self._parts = to / STATE / "parts"
        self._complete = CompleteFiles(to / STATE / "complete.jsonl")
        self._lock = threading.Lock()
        self._state = PullProgress()

    def run(self, files: Sequence[RemoteFile]) -> int:
        """Make every file be there; returns how many already were."""
        self._parts.mkdir(parents=True, exist_ok=True)
        targets = {file.path: safe_target(self._to, file.path) for file in files}
        self._state = PullProgress(files=len(files), nbytes=sum(file.nbytes for file in files))
        todo = [file for file in files if not self._complete.holds(targets[file.path], file)]
        for file in set(files) - set(todo):
            self._advance(file.nbytes, files=1)
        small = [file for file in todo if file.sha256 is None or file.nbytes < self._planned_nbytes]
        for _ in self._pool.map(lambda file: self._fetch(file, targets[file.path]), small):
            pass
        for file in sorted(set(todo) - set(small), key=lambda file: file.path):
            source = HubFile(self._hub, self._repo, self._commit, file)
            rebuild(
                source,
                targets[file.path],
                parts=self._parts,
                local=self._local,
                pool=self._pool,
                advance=self._advance,
            )
            self._settle(file, targets[file.path])
        return len(files) - len(todo)

    def _fetch(self, file: RemoteFile, target: Path) -> None:
        """A small file, in one request."""
        data = bytearray(file.nbytes)
        self._hub.read_file(self._repo, self._commit, file.path, 0, memoryview(data))
        if not is_intact(file, data):
            raise DamagedDownload(f"{file.path}: the hub sent bytes that are not the file's")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._parts / uuid.uuid4().hex
        temporary.write_bytes(data)
        temporary.replace(target)
        self._advance(file.nbytes)
        self._settle(file, target)

    def _settle(self, file: RemoteFile, target: Path) -> None:
        with self._lock:
            self._complete.add(target, file)
        self._advance(0, files=1)

    def _advance(self, nbytes: int, files: int = 0) -> None:
        with self._lock:
            self._state = self._state.advanced(
                nbytes, files=files, wire_nbytes=self._hub.wire_nbytes
            )
            if self._progress is not None:
                self._progress(self._state)


def is_intact(file: RemoteFile, data: bytes | bytearray) -> bool:
    """Whether ``data`` is the file: by SHA-256, or git blob id where that is all there is."""
    if file.sha256 is not None:
        return hashlib.sha256(data).digest() == file.sha256
    blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    blob.update(data)
    return blob.hexdigest() == file.oid


def safe_target(to: Path, path: str) -> Path:
    """Where a file of the repository goes. Raises TargetRefused for a path that leads elsewhere."""
    parts = PurePosixPath(path).parts
    separates = os.sep == "\\" and os.sep in path
    bad = not parts or separates or path.startswith("/") or "\0" in path
    if bad or any(part in {"..", ".", STATE} for part in parts):
        raise TargetRefused(f"the repository names a path that is not allowed: {path!r}")
    target = to.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(to.resolve()):
        raise TargetRefused(f"{path!r} leads out of {to} by a link")
    return target


@contextmanager
def _locked(to: Path) -> Iterator[None]:
    """One pull per directory at a time."""
    state = to / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TargetRefused(f"{to}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TargetRefused(f"another pull is writing to {to}") from None
    finally:
        os.close(lock)
