"""A shard's file put together again: chunks from xorbs, or from files that hold them by now.

Each chunk is digested again before it is used, each term is checked against its declared length and
verification digest, and the chunks together must have the file's Xet digest. Pieces are fetched and
checked a few ahead on threads, so memory stays at a few pieces whatever the file's size.
"""

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.contents.ahead import in_order
from app.db.tables import File, Lease
from app.errors import ContentNotFound, Damaged, Unavailable
from app.hub import Hub
from app.restore.plan import FilePlan, load_plan
from app.restore.reader import FileReader
from app.store.contract import ObjectMissing
from app.xet.epoch import bump_cas_epoch
from app.xet.hashing import DigestTree, format_digest, term_digest
from app.xet.shard import ShardFile, ShardInvalid, Term
from app.xet.staging import StagedXorb, forget_xorb, load_xorb
from app.xet.terms import Holder, Span, held_chunks
from app.xet.xorb import XorbInvalid, check_run

PIECE_NBYTES = 4 << 20
"""Raw bytes fetched and checked at a time."""

XORBS_KEPT = 64
"""Chunk tables in memory per upload."""

PLANS_KEPT = 8

SPANS_KEPT = 4_096
"""Spans of one file that are recorded whether or not another file holds the same chunks."""


class FileRun(NamedTuple):
    """Bytes ``[start, stop)`` of a file of ours."""

    plan: FilePlan
    start: int
    stop: int


class Piece(NamedTuple):
    """Chunks ``[start, stop)`` of a xorb and, if the xorb itself is gone, where they lie."""

    xorb: StagedXorb
    start: int
    stop: int
    runs: tuple[FileRun, ...]


class XorbShelf:
    """The xorbs of one account that one upload names, as loaded last; used by one thread.

    Files that chunks are read from are held by leases until :meth:`close`.
    """

    def __init__(self, hub: Hub, account_id: int) -> None:
        self._hub = hub
        self._account_id = account_id
        self._xorbs: OrderedDict[bytes, StagedXorb] = OrderedDict()
        self._held: dict[bytes, np.ndarray] = {}
        self._plans: OrderedDict[int, FilePlan] = OrderedDict()
        self._owner = f"upload:{uuid.uuid4()}"

    def xorb(self, digest: bytes) -> tuple[StagedXorb, np.ndarray]:
        """A xorb, and per chunk whether a file is known to hold it (shared and mutable)."""
        xorb = self._xorbs.get(digest)
        if xorb is None:
            with self._hub.db.read() as session:
                xorb = load_xorb(session, self._account_id, digest)
            self._xorbs[digest] = xorb
            if len(self._xorbs) > XORBS_KEPT:
                self._xorbs.popitem(last=False)
        self._xorbs.move_to_end(digest)
        if digest not in self._held:
            self._held[digest] = held_chunks(xorb.holders, len(xorb.table))
        return xorb, self._held[digest]

    def plan(self, file_id: int) -> FilePlan:
        """The plan of a file that holds chunks, held by a lease from now on."""
        plan = self._plans.get(file_id)
        if plan is None:
            self._hub.db.run(lambda session: self._lease(session, file_id))
            plan = self._plans[file_id] = load_plan(self._hub, file_id)
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan

    def close(self) -> None:
        """Drop the leases."""

        def work(session: Session) -> None:
            session.execute(delete(Lease).where(Lease.owner == self._owner))

        self._hub.db.run(work)

    def _lease(self, session: Session, file_id: int) -> None:
        if session.get(File, file_id, with_for_update=True) is None:
            raise ContentNotFound("a file that held chunks was deleted; upload it again")
        expires_at = self._hub.clock.now() + timedelta(seconds=self._hub.settings.timers.lease_s)
        session.add(Lease(file_id=file_id, owner=self._owner, expires_at=expires_at))


class Assembly:
    """One file of a shard, streamed once; afterwards it knows which chunks the file now holds."""

    def __init__(self, hub: Hub, shelf: XorbShelf, file: ShardFile, executor: Executor) -> None:
        self._hub = hub
        self._shelf = shelf
        self._file = file
        self._executor = executor
        self._tree = DigestTree()
        self._at = 0
        self.named: set[int] = set()
        """Ids of all xorbs that the file names."""
        self.spans: list[Span] = []
        """Where its chunks lie: all of them, or from the 4096th on those that no file held."""

    def stream(self, progress: Callable[[int], None]) -> Iterator[bytes]:
        """The bytes of the file; ``progress`` is told the length of each buffer.

        Raises ContentNotFound for a xorb that is not here, :class:`ShardInvalid` where the shard
        contradicts its xorbs, Damaged or Unavailable where our own storage fails.
        """
        fetches = (partial(self._fetch, piece) for piece in self._pieces())
        with closing(in_order(self._executor, fetches, self._hub.settings.restore_threads)) as read:
            for data in read:
                progress(len(data))
                yield data
        if self._tree.file_digest() != self._file.digest:
            raise ShardInvalid(f"the terms do not make file {format_digest(self._file.digest)}")

    def _pieces(self) -> Iterator[Piece]:
        for term in self._file.terms():
            xorb, held = self._shelf.xorb(term.xorb)
            rows = checked_rows(xorb, term)
            self.named.add(xorb.id)
            digests, lengths = rows["digest"].tobytes(), rows["nbytes"].tolist()
            for index, nbytes in enumerate(lengths):
                self._tree.add(digests[32 * index : 32 * index + 32], nbytes)
            if len(self.spans) < SPANS_KEPT or not held[term.start : term.stop].all():
                held[term.start : term.stop] = True
                self.spans.append(Span(xorb.id, term.start, term.stop, self._at))
            self._at += term.nbytes
            for start, stop in _cut(lengths, term.start):
                yield Piece(xorb, start, stop, self._runs(xorb, start, stop))

    def _runs(self, xorb: StagedXorb, start: int, stop: int) -> tuple[FileRun, ...]:
        if xorb.key is not None:
            return ()
        runs: list[FileRun] = []
        while start < stop:
            holder = _holder_at(xorb, start)
            end = min(stop, holder.span.stop)
            first = holder.span.file_start + raw_nbytes(xorb, holder.span.start, start)
            plan = self._shelf.plan(holder.file_id)
            runs.append(FileRun(plan, first, first + raw_nbytes(xorb, start, end)))
            start = end
        return tuple(runs)

    def _fetch(self, piece: Piece) -> bytes:
        """On a thread: the raw bytes of a piece, each chunk checked."""
        data = self._read_files(piece) if piece.runs else self._read_xorb(piece)
        try:
            check_run(data, piece.xorb.table[piece.start : piece.stop])
        except XorbInvalid as error:
            forget_xorb(self._hub, piece.xorb.id)
            raise Damaged("stored chunks are damaged; upload them again") from error
        return data

    def _read_xorb(self, piece: Piece) -> bytes:
        assert piece.xorb.key is not None
        start, stop = piece.xorb.stored_range(piece.start, piece.stop)
        try:
            return self._hub.store.read(piece.xorb.key, start, stop)
        except ObjectMissing as error:
            raise Unavailable("a xorb was dropped during the upload; try again") from error

    def _read_files(self, piece: Piece) -> bytes:
        try:
            return b"".join(
                buffer
                for run in piece.runs
                for buffer in FileReader(self._hub, run.plan).stream(run.start, run.stop)
            )
        except Damaged:
            # Clients that forget the xorb send its bytes again, and those heal the file.
            self._hub.db.run(bump_cas_epoch)
            raise


def checked_rows(xorb: StagedXorb, term: Term) -> np.ndarray:
    """Rows of the chunk table that a term means. Raises ShardInvalid if it contradicts them."""
    if not 0 <= term.start < term.stop <= len(xorb.table):
        raise ShardInvalid("a term names chunks that its xorb does not have")
    rows = xorb.table[term.start : term.stop]
    if int(rows["nbytes"].sum(dtype=np.uint64)) != term.nbytes:
        raise ShardInvalid("a term declares another length than its chunks have")
    if term.check is not None and term_digest(rows["digest"].tobytes()) != term.check:
        raise ShardInvalid("a term's verification digest is not that of its chunks")
    return rows


def _cut(lengths: list[int], first: int) -> Iterator[tuple[int, int]]:
    """Ranges of chunks of about :data:`PIECE_NBYTES` raw bytes each."""
    start, room = first, PIECE_NBYTES
    for index, nbytes in enumerate(lengths, start=first):
        if nbytes > room and index > start:
            yield start, index
            start, room = index, PIECE_NBYTES
        room -= nbytes
    yield start, first + len(lengths)


def _holder_at(xorb: StagedXorb, chunk: int) -> Holder:
    """The file that holds most chunks from this one on."""
    found = [h for h in xorb.holders if h.span.start <= chunk < h.span.stop]
    if not found:
        raise ContentNotFound("chunks of an earlier upload are gone; upload them again")
    return max(found, key=lambda h: h.span.stop)


def raw_nbytes(xorb: StagedXorb, start: int, stop: int) -> int:
    """Raw bytes of chunks ``[start, stop)``."""
    return int(xorb.table["nbytes"][start:stop].sum(dtype=np.uint64))
