"""Byte accounting: what users see, what the bucket holds, and what each cause saved.

Every number is additive, exactly::

    stored = logical - file_dedup - tensor_dedup - delta - coding + overhead

``logical`` counts every distinct version of every file of every repository once, history included;
``stored`` is the sum of a listing of the bucket. ``overhead`` is what lies there beyond the current
encodings of committed files: replaced objects in their grace period, uploads on their way, bases
that outlived their repository. It is the remainder, so that nothing can hide.
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Select, distinct, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding, File, Finding, Repo, Segment, StoredObject, TreeEntry
from app.errors import HubError
from app.hub import Hub

MEASURING_SHARE = 100
"""A measurement stays good for this many times what it took."""

CLOSE_S = 5.0
"""How long a hub that ends waits for a measurement."""

log = structlog.get_logger(__name__)


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
    repos: int
    files: int
    contents: int
    deltas: int
    waiting: int
    """Contents that the encoder has not come to yet."""
    findings: int
    """Things known to be damaged, lost or at odds: ``clade fsck`` names them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement found, and when it began."""

    at: datetime
    stats: Stats


class Meter:
    """Measures the hub at most a hundredth of the time, and remembers. Thread-safe.

    What measuring costs grows with the hub, so its period does: a hub that is measured in 10 ms is
    measured afresh every second, one that takes a minute every 100 minutes.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._latest: Measured | None = None
        self._good_until = 0.0
        self._measuring: threading.Thread | None = None

    def latest(self, *, wait_s: float) -> Measured | None:
        """The newest measurement, waiting up to ``wait_s`` for one that is due.

        None if there is none yet, or none succeeded (the log says why).
        """
        with self._lock:
            if self._latest is not None and time.monotonic() < self._good_until:
                return self._latest
            if self._measuring is None or not self._measuring.is_alive():
                self._measuring = threading.Thread(target=self._measure, name="meter", daemon=True)
                self._measuring.start()
            measuring = self._measuring
        measuring.join(wait_s)
        return self._latest

    def close(self) -> None:
        """Wait for a measurement that goes on, though not for ever: it dies with the process."""
        with self._lock:
            measuring = self._measuring
        if measuring is not None:
            measuring.join(CLOSE_S)

    def _measure(self) -> None:
        began, now = time.monotonic(), self._hub.clock.now()
        try:
            self._latest = Measured(now, measure(self._hub))
        except (HubError, OSError, SQLAlchemyError) as error:
            log.warning("stats.failed", error=str(error))
        ended = time.monotonic()
        self._good_until = ended + MEASURING_SHARE * (ended - began)


def measure(hub: Hub) -> Stats:
    """Account for every byte. Raises Unavailable if the store cannot be listed."""
    stored = sum(stat.nbytes for stat in hub.store.list())
    with hub.db.read(patient=True) as session:
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
        repos=_total(session, select(func.count()).select_from(Repo)),
        files=_total(session, select(func.count(distinct(TreeEntry.file_id)))),
        contents=deltas + alone,
        deltas=deltas,
        findings=_total(session, select(func.count()).select_from(Finding)),
        waiting=_total(
            session, select(func.count()).select_from(Encoding).where(Encoding.final.is_(False))
        ),
    )


def _total(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _sums(session: Session, query: Any) -> list[int]:
    return [int(value or 0) for value in session.execute(query).one()]
