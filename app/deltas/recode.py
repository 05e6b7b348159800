"""A batch of contents on its way to new encodings: coded, packed, proven, swapped.

Contents are taken in until a pack is full; then the pack is made durable and swapped in one
transaction. So memory, disk and lost work after a crash are bounded by a pack, and a rerun finds
what is done by looking at the database. Where only the whole tells whether it pays, packs are
written first and swapped, or given up, when all are there.

A pack holds contents of one dedup domain: where a frame lies is told to those who may read it, and
must tell them nothing of what others have. So there is a batch for each domain.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.contents.locking import lock_contents
from app.contents.packs import PACK_NBYTES, PackedEncoding, PackWriter
from app.contents.reading import read_whole
from app.contents.refs import EncodingRef, load_refs
from app.db.tables import Content, Lease
from app.deltas.coding import STREAMED_NBYTES, Coded, code_streaming, code_whole
from app.deltas.swap import SwapRefused, swap
from app.deltas.tensors import base_dtype_of, load_tensors
from app.errors import HubError
from app.jobs.context import JobContext

PACK_CONTENTS = 1000
"""Contents in one swap: bounds the length of its transaction."""

MOST_OPEN = 16
"""Domains that are collected for at once."""


@dataclass(slots=True)
class _Batch:
    """Contents of one domain that are on their way into a pack."""

    writer: PackWriter
    read: dict[int, EncodingRef] = field(default_factory=dict)
    nbytes: int = 0
    packed: list[PackedEncoding] = field(default_factory=list)
    """All of them, once they are durable; they are not yet current."""

    def is_full_for(self, coded: Coded) -> bool:
        return self.nbytes + coded.nbytes > PACK_NBYTES or len(self.read) >= PACK_CONTENTS


class Recoder:
    """Takes contents with the bytes they shall be stored as, and swaps them in pack by pack.

    A context manager; used by one thread. ``flush`` before leaving, or the last batch is given up.
    With ``deferred`` full packs are only written, until :meth:`swap_in`.
    """

    def __init__(self, context: JobContext, *, deferred: bool = False) -> None:
        self._context = context
        self._hub = context.hub
        self._deferred = deferred
        self._directory = tempfile.TemporaryDirectory(prefix="clade-recode-")
        self._open: dict[int, _Batch] = {}
        self._written: list[_Batch] = []

    @property
    def directory(self) -> Path:
        """Where bodies that do not fit into memory are put; removed with the recoder."""
        return Path(self._directory.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for batch in self._open.values():
            batch.writer.__exit__(kind, error, trace)
        self._directory.cleanup()
        with suppress(HubError, SQLAlchemyError):
            for batch in self._written:
                batch.writer.abandon()

    def add(self, ref: EncodingRef, coded: Coded) -> None:
        """Take one content; completes its domain's batch first if full. Raises as :meth:`flush`."""
        batch = self._open.get(ref.domain)
        if batch is not None and batch.read and batch.is_full_for(coded):
            self._complete(ref.domain)
            batch = None
        if batch is None:
            if len(self._open) == MOST_OPEN:
                self._complete(next(iter(self._open)))
            batch = self._open[ref.domain] = _Batch(PackWriter(self._hub))
        batch.writer.add(ref.content_id, coded.codec, coded.base_id, coded.body)
        if isinstance(coded.body, Path):
            coded.body.unlink(missing_ok=True)
        batch.read[ref.content_id] = ref
        batch.nbytes += coded.nbytes

    def flush(self) -> None:
        """Make all batches durable and current.

        Raises :class:`~app.deltas.swap.SwapRefused`, StoreUnavailable, Damaged or JobLost; then
        nothing of that batch was changed, and it may be made again.
        """
        self.write()
        self.swap_in()

    def write(self) -> None:
        """Make all durable; nothing is current yet. Raises StoreUnavailable, Unavailable."""
        for domain in list(self._open):
            self._write(domain)

    def swap_in(self, only: Collection[int] | None = None) -> None:
        """Make what was written current, or ``only`` some contents of it; the rest is given up.

        Raises as :meth:`flush` does, for the pack that it has come to.
        """
        while self._written:
            batch = self._written.pop(0)
            chosen = [each for each in batch.packed if only is None or each.content_id in only]
            with batch.writer:
                self._context.check()
                swap(self._hub, chosen, batch.read)
            if len(chosen) < len(batch.packed):
                batch.writer.abandon()

    def _complete(self, domain: int) -> None:
        self._write(domain)
        if not self._deferred:
            self.swap_in()

    def _write(self, domain: int) -> None:
        batch = self._open.pop(domain)
        with batch.writer:
            batch.packed = batch.writer.close()
            self._written.append(batch)


def code_moves(
    recoder: Recoder,
    context: JobContext,
    moves: Iterable[tuple[int, int | None]],
    dtypes: dict[int, str],
    on_done: Callable[[int], None],
    accept: Callable[[EncodingRef, Coded], bool] = lambda _ref, _coded: True,
) -> None:
    """Code contents against given bases (None: alone) from wherever they lie now, and swap them.

    Raises as :meth:`Recoder.flush` does. ``on_done`` is told raw bytes. What ``accept`` refuses
    stays as it is stored.
    """
    for content_id, base_id in moves:
        ref, coded = code_move(recoder, context, content_id, base_id, dtypes.get(content_id, "U8"))
        if accept(ref, coded):
            recoder.add(ref, coded)
        elif isinstance(coded.body, Path):
            coded.body.unlink(missing_ok=True)
        on_done(ref.nbytes)
    recoder.flush()


def code_move(
    recoder: Recoder, context: JobContext, content_id: int, base_id: int | None, dtype: str
) -> tuple[EncodingRef, Coded]:
    """Code one content: where it lies now, and what it would be. Raises SwapRefused, Damaged."""
    context.check()
    hub = context.hub
    with hub.db.read() as session:
        bases = [] if base_id is None else [base_id]
        refs = load_refs(session, [content_id, *bases])
        tensors = load_tensors(session, [content_id, *bases])
    ref, base = refs.get(content_id), None if base_id is None else refs.get(base_id)
    if ref is None or (base_id is not None and base is None):
        raise SwapRefused([content_id], bases)
    base_dtype = base_dtype_of(dtype, tensors.get(base_id or 0))
    columns = tensors[content_id].columns if content_id in tensors else 0
    if max(ref.nbytes, 0 if base is None else base.nbytes) > STREAMED_NBYTES:
        return ref, code_streaming(
            hub, ref, dtype, base, recoder.directory, context.check, base_dtype, columns
        )
    if base is None:
        return ref, code_whole(read_whole(hub, [ref])[0], dtype)
    data, under = read_whole(hub, [ref, base])
    return ref, code_whole(data, dtype, under, base.content_id, base_dtype, columns)


@contextmanager
def leases(context: JobContext) -> Iterator[Callable[[Collection[int]], None]]:
    """Hold contents against garbage collection; all are released in the end.

    Gives a function that takes content ids. A lease only saves work: a base that goes nevertheless
    is noticed when the swap looks again.
    """
    hub = context.hub
    owner = f"job:{context.job_id}"

    def hold(content_ids: Collection[int]) -> None:
        def work(session: Session) -> None:
            expires_at = hub.clock.now() + timedelta(seconds=hub.settings.timers.lease_s)
            lock_contents(session, content_ids, shared=True)
            there = session.scalars(select(Content.id).where(Content.id.in_(content_ids)))
            session.add_all(
                Lease(content_id=content, owner=owner, expires_at=expires_at) for content in there
            )

        if content_ids:
            hub.db.run(work)

    try:
        yield hold
    finally:
        hub.db.run(lambda session: _release(session, owner))


def _release(session: Session, owner: str) -> None:
    session.execute(delete(Lease).where(Lease.owner == owner))
