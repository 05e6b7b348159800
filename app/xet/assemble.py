"""A shard's file put together again: chunks from xorbs, or from files that hold them by now.

Each term is checked against its declared length and verification digest, and the chunks together
must have the file's Xet digest. Chunks were digested when they came in; they are digested again
only where no SHA-256 of the file proves what was read, or once it did not. Pieces are
fetched a few ahead on threads, so memory stays at a few pieces whatever the file's size.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from app.contents.ahead import in_order
from app.errors import ContentNotFound, Damaged, Unavailable
from app.formats.layout import Layout, parse_layout
from app.hub import Hub
from app.ingest.resting import RestingFile, Stretch, find_resting
from app.restore.plan import FilePlan
from app.restore.reader import FileReader
from app.store.contract import ObjectMissing
from app.xet.epoch import bump_cas_epoch
from app.xet.hashing import DigestTree, format_digest
from app.xet.runs import read_run
from app.xet.shard import ShardFile, ShardInvalid, Term
from app.xet.shelf import XorbShelf, checked_rows, raw_nbytes
from app.xet.staging import StagedXorb, forget_xorb
from app.xet.terms import Holder, Span
from app.xet.xorb import XorbInvalid

PIECE_NBYTES = 4 << 20
"""Raw bytes fetched and checked at a time."""

HEAD_NBYTES = 128 << 10
"""The same where only the header of a file is wanted."""

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


class Assembly:
    """One file of a shard, streamed once; afterwards it knows which chunks the file now holds."""

    def __init__(self, hub: Hub, shelf: XorbShelf, file: ShardFile, executor: Executor) -> None:
        self._hub = hub
        self._shelf = shelf
        self.file = file
        self._executor = executor
        self._tree = DigestTree()
        self.named: set[int] = set()
        """Ids of all xorbs that the file names."""
        self.spans: list[Span] = []
        """Where its chunks lie: all of them, or from the 4096th on those that no file held."""

    def stream(self, progress: Callable[[int], None], *, checked: bool) -> Iterator[bytes]:
        """The bytes of the file; ``progress`` is told the length of each buffer.

        Raises ContentNotFound for a xorb that is not here, :class:`ShardInvalid` where the shard
        contradicts its xorbs, Damaged or Unavailable where our own storage fails. Unless
        ``checked``, what store and wire do to the bytes shows only in the SHA-256 of the file.
        """
        fetch = self._read_checked if checked else self._read
        for data in self._read_ahead(self._entered_pieces(), fetch):
            progress(len(data))
            yield data
        if self._tree.file_digest() != self.file.digest:
            raise ShardInvalid(f"the terms do not make file {format_digest(self.file.digest)}")

    def resting(self) -> RestingFile:
        """The layout of the file, and what of it can stay in the xorbs where it lies.

        Raises as :meth:`stream` does.
        """
        layout = self._layout()
        if not layout.segments:
            return RestingFile(layout)
        return RestingFile(layout, find_resting(layout.segments, self._stretches()))

    def _layout(self) -> Layout:
        pieces, prefix = self._pieces(HEAD_NBYTES), b""
        while True:
            answer = parse_layout(prefix, self.file.nbytes, self._hub.settings.limits)
            if isinstance(answer, Layout):
                return answer
            parts, held_nbytes = [prefix], len(prefix)
            while held_nbytes < answer.nbytes:
                parts.append(self._read_checked(next(pieces)))
                held_nbytes += len(parts[-1])
            prefix = b"".join(parts)

    def _stretches(self) -> Iterator[Stretch]:
        """Where the terms lie in xorbs that are stored still."""
        at = 0
        for term in self.file.terms():
            xorb, _held = self._shelf.xorb(term.xorb)
            checked_rows(xorb, term)
            start, _stop = xorb.stored_range(term.start, term.stop)
            yield Stretch(at, at + term.nbytes, xorb.object_id, start)
            at += term.nbytes

    def _read_ahead(
        self, pieces: Iterator[Piece], read: Callable[[Piece], bytes]
    ) -> Iterator[bytes]:
        fetches = (partial(read, piece) for piece in pieces)
        ahead = self._hub.settings.restore_threads
        with closing(in_order(self._executor, fetches, ahead)) as buffers:
            yield from buffers

    def _pieces(self, nbytes: int = PIECE_NBYTES) -> Iterator[Piece]:
        for term in self.file.terms():
            xorb, _held = self._shelf.xorb(term.xorb)
            yield from self._cut(xorb, term, checked_rows(xorb, term), nbytes)

    def _entered_pieces(self) -> Iterator[Piece]:
        """The same, once: each term is entered in the digest of the file and in its spans."""
        at = 0
        for term in self.file.terms():
            xorb, held = self._shelf.xorb(term.xorb)
            rows = checked_rows(xorb, term)
            self.named.add(xorb.id)
            digests = rows["digest"].tobytes()
            for index, nbytes in enumerate(rows["nbytes"].tolist()):
                self._tree.add(digests[32 * index : 32 * index + 32], nbytes)
            if len(self.spans) < SPANS_KEPT or not held[term.start : term.stop].all():
                held[term.start : term.stop] = True
                self.spans.append(Span(xorb.id, term.start, term.stop, at))
            at += term.nbytes
            yield from self._cut(xorb, term, rows, PIECE_NBYTES)

    def _cut(self, xorb: StagedXorb, term: Term, rows: np.ndarray, nbytes: int) -> Iterator[Piece]:
        for start, stop in _ranges(rows["nbytes"].tolist(), term.start, nbytes):
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

    def _read(self, piece: Piece) -> bytes:
        """On a thread: the raw bytes of a piece."""
        return self._read_files(piece) if piece.runs else self._read_xorb(piece)

    def _read_checked(self, piece: Piece) -> bytes:
        """On a thread: the raw bytes of a piece, each chunk checked."""
        rows = piece.xorb.table[piece.start : piece.stop]
        try:
            return read_run(lambda: self._read(piece), rows)
        except XorbInvalid as error:
            forget_xorb(self._hub, piece.xorb.id)
            raise Damaged("stored chunks are damaged; upload them again") from error

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


def _ranges(lengths: list[int], first: int, piece_nbytes: int) -> Iterator[tuple[int, int]]:
    """Ranges of chunks of ``piece_nbytes`` raw bytes at most; a longer chunk is one alone."""
    start, room = first, piece_nbytes
    for index, nbytes in enumerate(lengths, start=first):
        if nbytes > room and index > start:
            yield start, index
            start, room = index, piece_nbytes
        room -= nbytes
    yield start, first + len(lengths)


def _holder_at(xorb: StagedXorb, chunk: int) -> Holder:
    """The file that holds most chunks from this one on."""
    found = [h for h in xorb.holders if h.span.start <= chunk < h.span.stop]
    if not found:
        raise ContentNotFound("chunks of an earlier upload are gone; upload them again")
    return max(found, key=lambda h: h.span.stop)
