"""Byte accounting: what users see, what the bucket holds, and what each cause saved.

Every number is additive, exactly::

    stored = logical - file_dedup - tensor_dedup - delta - coding + overhead

``logical`` counts every distinct version of every file of every repository once, history included;
``stored`` is the sum of a listing of the bucket. ``overhead`` is what lies there beyond the current
encodings of committed files: replaced objects in their grace period, uploads on their way, bases
that outlived their repository. It is the remainder, so that nothing can hide.
"""

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, distinct, func, select
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding, File, Segment, StoredObject, TreeEntry
from app.hub import Hub

LISTING_LIFE_S = 5.0
"""A listing of the bucket serves all questions for this long."""


@dataclass(frozen=True, slots=True)
class Saved:
    """Bytes that each cause took off the logical size. A cause may be negative, never hidden."""

    file_dedup: int
    """The same file in several places."""
    tensor_dedup: int
    """The same tensor, chunk or literal in several files."""
    delta: int
    """Contents stored as a difference to a base."""
    coding: int
    """Contents compressed on their own."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes in the bucket beyond the current encodings of committed files."""

    retired: int
    """Replaced or dropped objects that wait for their grace period."""
    held: int
    """Current encodings of contents that no commit shows: uploads not committed, pinned bases."""
    other: int
    """The rest: staging, replaced ranges inside live objects, objects being written."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.retired + self.held + self.other


@dataclass(frozen=True, slots=True)
class Stats:
    """The bytes of a hub at one moment."""

    logical_bytes: int
    stored_bytes: int
    saved: Saved
    overhead: Overhead
    files: int
    contents: int
    deltas: int
    waiting: int
    """Contents that the encoder has not come to yet."""


class BucketMeter:
    """Sum of the bucket's listing, remembered for some seconds. Thread-safe."""

    def __init__(self, hub: Hub, life_s: float = LISTING_LIFE_S) -> None:
        self._hub = hub
        self._life_s = life_s
        self._lock = threading.Lock()
        self._taken: tuple[datetime, int] | None = None

    def stored_nbytes(self) -> int:
        """Bytes that the bucket holds now, or held ``life_s`` seconds ago."""
        with self._lock:
            now = self._hub.clock.now()
            if self._taken is None or (now - self._taken[0]).total_seconds() >= self._life_s:
                self._taken = now, sum(stat.nbytes for stat in self._hub.store.list())
            return self._taken[1]


def measure(hub: Hub, meter: BucketMeter | None = None) -> Stats:
    """Account for every byte. Raises Unavailable if the store cannot be listed."""
    stored = (meter or BucketMeter(hub)).stored_nbytes()
    with hub.db.read() as session:
        return _account(session, stored)


def _account(session: Session, stored: int) -> Stats:
    shown = select(TreeEntry.file_id).where(TreeEntry.file_id.is_not(None))
    parts = select(Segment.content_id).where(Segment.file_id.in_(shown))
    versions = (
        select(TreeEntry.repo_id, TreeEntry.name, TreeEntry.file_id, TreeEntry.size)
        .where(TreeEntry.file_id.is_not(None))
        .distinct()
        .subquery()
    )
    logical = _total(session, select(func.sum(versions.c.size)))
    unique = _total(session, select(func.sum(File.size)).where(File.id.in_(shown)))
    raw = _total(session, select(func.sum(Content.nbytes)).where(Content.id.in_(parts)))
    encodings = select(
        func.sum(Content.nbytes - Encoding.nbytes), func.sum(Encoding.nbytes), func.count()
    ).join_from(Encoding, Content, Encoding.content_id == Content.id)
    committed = encodings.where(Content.id.in_(parts))
    delta, delta_stored, deltas = _sums(session, committed.where(Encoding.base_id.is_not(None)))
    coding, alone_stored, alone = _sums(session, committed.where(Encoding.base_id.is_(None)))
    encoded = delta_stored + alone_stored
    held = _total(session, select(func.sum(Encoding.nbytes))) - encoded
    retired = _total(
        session, select(func.sum(StoredObject.nbytes)).where(StoredObject.state == "retired")
    )
    return Stats(
        logical_bytes=logical,
        stored_bytes=stored,
        saved=Saved(
            file_dedup=logical - unique, tensor_dedup=unique - raw, delta=delta, coding=coding
        ),
        overhead=Overhead(retired=retired, held=held, other=stored - encoded - held - retired),
        files=_total(session, select(func.count(distinct(TreeEntry.file_id)))),
        contents=deltas + alone,
        deltas=deltas,
        waiting=_total(
            session, select(func.count()).select_from(Encoding).where(Encoding.final.is_(False))
        ),
    )


def _total(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _sums(session: Session, query: Any) -> list[int]:
    return [int(value or 0) for value in session.execute(query).one()]
