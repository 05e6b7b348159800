"""Reading a file while it is fetched: its parts as they come, the rest from the store once it is.

Any number of readers, in any process, follow the one fetch and tell it where they read. One byte
of the file is withheld until the SHA-256 of the whole was seen to be right: whatever ranges
somebody asks for, nobody ever ends up with a file that is not what it should be.
"""

import threading
import time
from collections.abc import Iterator
from typing import Protocol

from sqlalchemy import select

from app.db.tables import AwaitedFile, TreeEntry
from app.errors import EntryNotFound, UpstreamSlow
from app.hub import Hub
from app.mirror import arrivals
from app.mirror.demand import Wanted, demand, fault_of
from app.mirror.parts import READ_NBYTES, Part, find_part
from app.restore.plan import load_plan
from app.restore.reader import FileReader, ReaderClosed
from app.store.contract import ObjectMissing

FIRST_POLL_S, LAST_POLL_S = 0.02, 0.25
"""How often a reader looks that hears nothing: the fetch may run in another process."""

AGAIN_S = 5.0
"""Hearing nothing for that long, a reader asks for its bytes again."""

TAIL_NBYTES = 8 << 20
"""So much of a file's end, at most half of it, may be read before the whole is known to be right:
footers of Parquet files and directories of archives are there. The byte before it is withheld."""

WHOLE_S = 60.0
"""How long a request waits that needs a file as a whole."""


class Openable(Protocol):
    """A file as a tree or a look-up shows it."""

    @property
    def file_id(self) -> int | None:
        """None while it is awaited."""
        ...

    @property
    def oid(self) -> str:
        """Git id of the blob, or the pointer."""
        ...

    @property
    def nbytes(self) -> int:
        """Of the file."""
        ...


def open_file(hub: Hub, repo_id: int, file: Openable) -> "FileReader | FollowingReader":
    """A reader of a repo's file; streaming from it fetches the file if a mirror awaits it.

    Raises what loading a plan does.
    """
    if file.file_id is not None:
        return FileReader(hub, load_plan(hub, file.file_id))
    return FollowingReader(hub, Wanted(repo_id, file.oid, file.nbytes))


def fetched_id(hub: Hub, repo_id: int, file: Openable) -> int:
    """Id of a repo's file that is here as a whole; of one that is awaited, once it was fetched.

    Raises as :meth:`FollowingReader.wait_for_whole`.
    """
    if file.file_id is not None:
        return file.file_id
    wanted = Wanted(repo_id, file.oid, file.nbytes)
    return FollowingReader(hub, wanted).wait_for_whole(WHOLE_S)


def withheld(nbytes: int) -> int:
    """Offset of the byte of a file of that length that only a verified file gives out."""
    return max(nbytes - TAIL_NBYTES - 1, nbytes // 2)


class FollowingReader:
    """Reads one awaited file. ``close`` may be called from any thread."""

    def __init__(self, hub: Hub, wanted: Wanted) -> None:
        self._hub = hub
        self._wanted = wanted
        self._closed = threading.Event()
        self._stored: FileReader | None = None

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)`` in order, waiting for those that have not come.

        Raises what :func:`~app.mirror.demand.demand` does and what fetching failed with,
        :class:`ReaderClosed` after ``close``.
        """
        at = start
        patience = _Patience(self._hub, self._wanted, self._closed, stop)
        patience.ask(at)
        while at < stop:
            patience.look()
            file_id, part, limit = self._look(at)
            if file_id is not None:
                yield from self._from_store(file_id, at, stop)
                return
            before = at
            if part is not None:
                for data in self._read(part, at, min(part.stop, stop, limit)):
                    at += len(data)
                    yield data
            if at == before:
                patience.wait(at)

    def wait_for_whole(self, most_s: float) -> int:
        """Id of the file once it is stored. Raises as :meth:`stream`, UpstreamSlow after a time."""
        nbytes = self._wanted.nbytes
        patience = _Patience(self._hub, self._wanted, self._closed, nbytes)
        patience.ask(0)
        until = time.monotonic() + most_s
        while time.monotonic() < until:
            patience.look()
            file_id, _, _ = self._look(nbytes)
            if file_id is not None:
                return file_id
            patience.wait(0)
        raise UpstreamSlow("the file is being fetched from the upstream; ask again in a while")

    def close(self) -> None:
        """Wake and end a waiting stream; the fetch goes on. Idempotent."""
        self._closed.set()
        arrivals.wake_all()
        if self._stored is not None:
            self._stored.close()

    def _look(self, at: int) -> tuple[int | None, Part | None, int]:
        """The file, if it is stored by now; else the part at a position, and what may be read."""
        repo_id, oid = self._wanted.repo_id, self._wanted.oid
        with self._hub.db.read() as session:
            awaited = session.get(AwaitedFile, (repo_id, oid))
            if awaited is None:
                file_id = session.scalar(
                    select(TreeEntry.file_id)
                    .where(TreeEntry.repo_id == repo_id, TreeEntry.oid == oid)
                    .where(TreeEntry.file_id.is_not(None))
                    .limit(1)
                )
                if file_id is None:
                    raise EntryNotFound("the file was deleted while it was fetched")
                return file_id, None, 0
            part = find_part(session, repo_id, oid, at)
            fault = fault_of(awaited)
        guarded = withheld(awaited.nbytes)
        limit = awaited.nbytes if awaited.verified or at > guarded else guarded
        if fault is not None and (part is None or at >= limit):
            raise fault
        return None, part, limit

    def _read(self, part: Part, at: int, stop: int) -> Iterator[memoryview]:
        """Bytes of a part; none if the file was stored meanwhile, and its parts went."""
        while at < stop:
            if self._closed.is_set():
                raise ReaderClosed("the download was closed")
            end = min(stop, at + READ_NBYTES)
            try:
                yield part.read(self._hub, at, end)
            except ObjectMissing:
                return
            at = end

    def _from_store(self, file_id: int, at: int, stop: int) -> Iterator[memoryview]:
        self._stored = FileReader(self._hub, load_plan(self._hub, file_id))
        if self._closed.is_set():
            raise ReaderClosed("the download was closed")
        yield from self._stored.stream(at, stop)


class _Patience:
    """How a reader waits for bytes up to ``stop``: hearing of them, looking, asking again."""

    def __init__(self, hub: Hub, wanted: Wanted, closed: threading.Event, stop: int) -> None:
        self._hub = hub
        self._wanted = wanted
        self._closed = closed
        self._stop = stop
        self._seen = 0
        self._pause_s = FIRST_POLL_S
        self._silent_s = 0.0

    def ask(self, at: int) -> None:
        """Ask for the bytes from a position on. Raises as ``demand`` does."""
        demand(self._hub, self._wanted, at, self._stop)

    def look(self) -> None:
        """To be called before looking, so that nothing that comes afterwards is missed."""
        self._seen = arrivals.rings(self._wanted.key)

    def wait(self, at: int) -> None:
        """Until there may be news for who waits at a position. Raises ReaderClosed."""
        arrivals.wait(self._wanted.key, self._seen, self._pause_s, unless=self._closed.is_set)
        if self._closed.is_set():
            raise ReaderClosed("the download was closed")
        if arrivals.rings(self._wanted.key) != self._seen:
            self._pause_s, self._silent_s = FIRST_POLL_S, 0.0
            return
        self._silent_s += self._pause_s
        self._pause_s = min(LAST_POLL_S, self._pause_s * 1.5)
        if self._silent_s >= AGAIN_S:
            self._silent_s = 0.0
            self.ask(at)
