"""Reading a file while it is fetched: its parts as they come, the rest from the store once it is.

Any number of readers, in any process, follow the one fetch. The last byte is withheld until the
SHA-256 of the whole file was seen to be right: nobody ever ends up with a file that is not.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from sqlalchemy import select

from app.db.tables import AwaitedFile, TreeEntry
from app.errors import EntryNotFound, UpstreamSlow
from app.hub import Hub
from app.mirror.demand import Wanted, demand, fault_of
from app.mirror.parts import Part, find_part
from app.restore.plan import load_plan
from app.restore.reader import FileReader, ReaderClosed
from app.store.contract import ObjectMissing

READ_NBYTES = 4 << 20
FIRST_POLL_S, LAST_POLL_S = 0.02, 0.25
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
    """A reader of a repo's file, which is fetched if a mirror awaits it.

    Raises what :func:`~app.mirror.demand.demand` does, and what loading a plan does.
    """
    if file.file_id is not None:
        return FileReader(hub, load_plan(hub, file.file_id))
    wanted = Wanted(repo_id, file.oid, file.nbytes)
    demand(hub, wanted)
    return FollowingReader(hub, wanted)


def fetched_id(hub: Hub, repo_id: int, file: Openable) -> int:
    """Id of a repo's file that is here as a whole; of one that is awaited, once it was fetched.

    Raises as :func:`open_file`, and UpstreamSlow if it takes longer than ``WHOLE_S``.
    """
    if file.file_id is not None:
        return file.file_id
    wanted = Wanted(repo_id, file.oid, file.nbytes)
    demand(hub, wanted)
    return FollowingReader(hub, wanted).wait_for_whole(WHOLE_S)


class FollowingReader:
    """Reads one awaited file. ``close`` may be called from any thread."""

    def __init__(self, hub: Hub, wanted: Wanted) -> None:
        self._hub = hub
        self._wanted = wanted
        self._closed = threading.Event()
        self._stored: FileReader | None = None

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)`` in order, waiting for those that have not come.

        Raises what fetching failed with, :class:`ReaderClosed` after ``close``.
        """
        at = start
        pause_s = FIRST_POLL_S
        while at < stop:
            file_id, part, limit = self._look(at)
            if file_id is not None:
                yield from self._from_store(file_id, at, stop)
                return
            data = b"" if part is None else self._read(part, at, min(stop, limit))
            if data:
                yield memoryview(data)
                at += len(data)
                pause_s = FIRST_POLL_S
                continue
            if self._closed.wait(pause_s):
                raise ReaderClosed("the download was closed")
            pause_s = min(LAST_POLL_S, pause_s * 1.5)

    def wait_for_whole(self, most_s: float) -> int:
        """Id of the file once it is stored. Raises as :meth:`stream`, UpstreamSlow after a time."""
        until = time.monotonic() + most_s
        while time.monotonic() < until:
            file_id, _, _ = self._look(self._wanted.nbytes)
            if file_id is not None:
                return file_id
            if self._closed.wait(LAST_POLL_S):
                raise ReaderClosed("the download was closed")
        raise UpstreamSlow("the file is being fetched from the upstream; ask again in a while")

    def close(self) -> None:
        """Wake and end a waiting stream; the fetch goes on. Idempotent."""
        self._closed.set()
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
        limit = awaited.nbytes if awaited.verified else awaited.nbytes - 1
        if fault is not None and (part is None or at >= limit):
            raise fault
        return None, part, limit

    def _read(self, part: Part, at: int, stop: int) -> bytes:
        end = min(part.stop, stop, at + READ_NBYTES)
        if end <= at:
            return b""
        if self._closed.is_set():
            raise ReaderClosed("the download was closed")
        with suppress(ObjectMissing):  # the file was stored, and the parts went
            return self._hub.store.read(part.key, at - part.start, end - part.start)
        return b""

    def _from_store(self, file_id: int, at: int, stop: int) -> Iterator[memoryview]:
        self._stored = FileReader(self._hub, load_plan(self._hub, file_id))
        if self._closed.is_set():
            raise ReaderClosed("the download was closed")
        yield from self._stored.stream(at, stop)
