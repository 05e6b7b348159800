"""What files hold of xorbs: bytes of a xorb are dropped once every chunk lives on in some file.

Clients name the xorbs of earlier uploads again, for three weeks and without sending them. A term
says where in a file such chunks are found, so the upload can be put together from our own files.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.contents import objects
from app.db.tables import Xorb, XorbTerm
from app.hub import Hub
from app.xet.xorb import TABLE

BATCH = 500
"""Rows per transaction or IN list."""


class Span(NamedTuple):
    """Chunks ``[start, stop)`` of a xorb as they lie in a file, from ``file_start`` on."""

    xorb_id: int
    start: int
    stop: int
    file_start: int


class Holder(NamedTuple):
    """A file and the chunks of a xorb that it holds."""

    file_id: int
    span: Span


def holders_of(session: Session, xorb_id: int) -> tuple[Holder, ...]:
    """All holders of chunks of a xorb, by first chunk."""
    rows = session.scalars(
        select(XorbTerm).where(XorbTerm.xorb_id == xorb_id).order_by(XorbTerm.chunk_start)
    )
    return tuple(
        Holder(row.file_id, Span(row.xorb_id, row.chunk_start, row.chunk_stop, row.file_start))
        for row in rows
    )


def _spans_of(session: Session, file_id: int) -> Iterator[Span]:
    for row in session.scalars(select(XorbTerm).where(XorbTerm.file_id == file_id)):
        yield Span(row.xorb_id, row.chunk_start, row.chunk_stop, row.file_start)


def held_chunks(holders: Iterable[Holder], chunks: int) -> np.ndarray:
    """Per chunk of a xorb, whether some file holds it."""
    held = np.zeros(chunks, np.bool_)
    for holder in holders:
        held[holder.span.start : holder.span.stop] = True
    return held


def all_held(session: Session, row: Xorb) -> bool:
    """Whether files hold every chunk of a xorb."""
    chunks = len(row.chunks) // TABLE.itemsize
    return bool(held_chunks(holders_of(session, row.id), chunks).all())


def enter_holder(
    session: Session, hub: Hub, file_id: int, named: Iterable[int], spans: Iterable[Span]
) -> None:
    """Record that a stored file holds chunks, and drop the bytes of xorbs that are wholly held.

    ``named`` are all xorbs of the upload: the client remembers them from now on.
    """
    now = hub.clock.now()
    known = set(_spans_of(session, file_id))
    rows = sorted(set(spans) - known)
    session.add_all(
        XorbTerm(
            xorb_id=span.xorb_id,
            chunk_start=span.start,
            chunk_stop=span.stop,
            file_id=file_id,
            file_start=span.file_start,
        )
        for span in rows
    )
    session.flush()
    for ids in _batches(named):
        session.execute(update(Xorb).where(Xorb.id.in_(ids)).values(created_at=now))
    for ids in _batches({span.xorb_id for span in rows}):
        _drop_held(session, hub, ids)


def drop_stale_xorbs(hub: Hub) -> int:
    """Forget xorbs that no upload has named for ``timers.xorb_s``: their clients have, too.

    For garbage collection; returns how many.
    """
    before = hub.clock.now() - timedelta(seconds=hub.settings.timers.xorb_s)

    def work(session: Session) -> int:
        rows = session.scalars(
            select(Xorb)
            .where(Xorb.created_at <= before)
            .order_by(Xorb.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        held = [row.object_id for row in rows if row.object_id is not None]
        session.execute(delete(Xorb).where(Xorb.id.in_([row.id for row in rows])))
        objects.retire_unreferenced(session, hub, held)
        return len(rows)

    total = 0
    while dropped := hub.db.run(work):
        total += dropped
    return total


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    """In order of id, which is the order of locks."""
    rest = sorted(set(ids))
    for start in range(0, len(rest), BATCH):
        yield rest[start : start + BATCH]


def _drop_held(session: Session, hub: Hub, xorb_ids: list[int]) -> None:
    rows = session.scalars(
        select(Xorb)
        .where(Xorb.id.in_(xorb_ids), Xorb.object_id.is_not(None))
        .order_by(Xorb.id)
        .with_for_update()
    ).all()
    dropped: list[int] = []
    for row in rows:
        if row.object_id is not None and all_held(session, row):
            dropped.append(row.object_id)
            row.object_id = None
    session.flush()
    objects.retire_unreferenced(session, hub, dropped)
