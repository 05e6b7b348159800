"""The bucket beside the database: objects that no row knows, and live rows without their object.

A row is written before the first byte and outlives the last, so a listed key without a row was
either deleted meanwhile or written by a process that had been given up on. It is adopted as a
tombstone and reaped like any other after a grace period, in which a wrong database would be
noticed. Keys of other store epochs are left alone: after a restore from a backup they may be all
that is left of what the backup did not know.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.inserting import upsert
from app.db.tables import StoredObject, Xorb
from app.gc.soundness import Inspected, lost, settle
from app.hub import Hub
from app.store.contract import ObjectStat, UnfinishedPut
from app.xet.staging import forget_xorb

T = TypeVar("T")

PAGE = 1000
"""Keys compared at a time."""

_LAST = "~"
"""Sorts after every character of a key."""

_EPOCH = len("o/") + 8

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SweepReport:
    """What did not match."""

    unknown: int = 0
    """Objects without a row; they have a tombstone now."""
    lost: int = 0
    """Live rows without their object, or one of another size; what lay there is marked damaged."""
    unfinished: int = 0
    """Puts in parts that nobody can publish any more; they were given up."""


def sweep(hub: Hub, *, grace_s: float, check: Callable[[], None] = lambda: None) -> SweepReport:
    """Compare the whole bucket with the rows, in bounded memory.

    Unknown objects of this store epoch may be deleted after ``grace_s`` seconds. Any number may run
    at once, and beside writers. ``check`` is called between pages and may raise to stop. Raises
    StoreUnavailable.
    """
    report = SweepReport()
    for prefix in _prefixes(hub):
        last = prefix
        for page in _pages(hub.store.list(prefix)):
            check()
            _compare(hub, report, page, (last, page[-1].key), grace_s)
            last = page[-1].key
        _compare(hub, report, [], (last, prefix + _LAST), grace_s)
    for prefix in (f"o/{hub.store_epoch}/", f"s/{hub.store_epoch}/"):
        for page in _pages(hub.store.list_unfinished(prefix)):
            check()
            _give_up(hub, report, page)
    return report


def _prefixes(hub: Hub) -> list[str]:
    """Of all store epochs that rows are of, and of this one."""
    with hub.db.read() as session:
        used = session.scalars(select(func.substr(StoredObject.key, 1, _EPOCH)).distinct())
        ours = {f"{kind}/{hub.store_epoch}" for kind in ("o", "s")}
        return sorted(f"{prefix}/" for prefix in ours | set(used))


def _compare(
    hub: Hub,
    report: SweepReport,
    page: Sequence[ObjectStat],
    between: tuple[str, str],
    grace_s: float,
) -> None:
    """A page of the listing with the rows of the keys that it spans.

    Listed first: a row that is not there now will never be.
    """
    listed = {stat.key: stat.nbytes for stat in page}
    after, upto = between
    with hub.db.read() as session:
        rows = session.execute(
            select(
                StoredObject.id, StoredObject.key, StoredObject.state, StoredObject.nbytes
            ).where(StoredObject.key > after, StoredObject.key <= upto)
        ).all()
    unknown = listed.keys() - {row.key for row in rows}
    ours = sorted(key for key in unknown if key.split("/")[1] == hub.store_epoch)
    if ours:
        sizes = {key: listed[key] for key in ours}
        report.unknown += hub.db.run(lambda session: _adopt(session, hub, sizes, grace_s))
    for row in rows:
        if row.state == "live" and listed.get(row.key) != row.nbytes:
            report.lost += _settle_lost(hub, Inspected(row.id, row.key, row.nbytes))


def _adopt(session: Session, hub: Hub, sizes: dict[str, int], grace_s: float) -> int:
    """Give unknown objects a tombstone; returns how many had no row indeed."""
    now = hub.clock.now()
    adopted = session.scalars(
        upsert(session, StoredObject)
        .values(
            [
                {
                    "key": key,
                    "purpose": "unknown",
                    "state": "retired",
                    "nbytes": nbytes,
                    "created_at": now,
                    "not_before": now + timedelta(seconds=grace_s),
                    "attempts": 0,
                }
                for key, nbytes in sizes.items()
            ]
        )
        .on_conflict_do_nothing()
        .returning(StoredObject.key)
    ).all()
    for key in adopted:
        log.warning("unknown_object", key=key, nbytes=sizes[key])
    return len(adopted)


def _settle_lost(hub: Hub, row: Inspected) -> bool:
    """Mark what lies in an object that is not as it should be; False if it left meanwhile."""
    if not settle(hub, row, lost(hub, row), read=False):
        return False
    with hub.db.read() as session:
        xorbs = session.scalars(select(Xorb.id).where(Xorb.object_id == row.id)).all()
    for xorb_id in xorbs:
        forget_xorb(hub, xorb_id)  # its client sends it again
    return True


def _give_up(hub: Hub, report: SweepReport, page: Sequence[UnfinishedPut]) -> None:
    """Puts whose writers died, or may not publish any more.

    Listed first: a put that goes on has had its pending row since before its first byte.
    """
    with hub.db.read() as session:
        keys = [unfinished.key for unfinished in page]
        going_on = set(
            session.scalars(
                select(StoredObject.key).where(
                    StoredObject.key.in_(keys), StoredObject.state == "pending"
                )
            )
        )
    for unfinished in page:
        if unfinished.key not in going_on:
            hub.store.give_up(unfinished)
            report.unfinished += 1
            log.warning("unfinished_put", key=unfinished.key)


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    page: list[T] = []
    for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
