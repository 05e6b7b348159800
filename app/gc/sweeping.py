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

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.inserting import upsert
from app.db.tables import Content, Encoding, StoredObject, Xorb
from app.gc.naming import places_of_contents
from app.hub import Hub
from app.store.contract import ObjectStat
from app.xet.staging import forget_xorb

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
    return report


def unknown_objects(hub: Hub, prefix: str = "") -> Iterator[ObjectStat]:
    """Listed objects under a prefix for which there is no row."""
    for page in _pages(hub.store.list(prefix)):
        with hub.db.read() as session:
            known = set(
                session.scalars(
                    select(StoredObject.key).where(StoredObject.key.in_([s.key for s in page]))
                )
            )
        yield from (stat for stat in page if stat.key not in known)


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
            stat = hub.store.stat(row.key)
            found = None if stat is None else stat.nbytes
            if found != row.nbytes:
                report.lost += _mark_lost(hub, row.id, found)


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


def _mark_lost(hub: Hub, object_id: int, found_nbytes: int | None) -> int:
    """Mark what lies in an object that is not as it should be; 0 if the object left meanwhile."""

    def work(session: Session) -> list[int] | None:
        row = session.get(StoredObject, object_id, with_for_update=True)
        if row is None or row.state != "live":
            return None
        held = select(Encoding.content_id).where(Encoding.object_id == object_id)
        places = places_of_contents(session, session.scalars(held.limit(PAGE)).all())
        log.error("lost_object", key=row.key, found_nbytes=found_nbytes, places=places)
        session.execute(
            update(Content)
            .where(Content.id.in_(held))
            .values(health="damaged")
            .execution_options(synchronize_session=False)
        )
        return list(session.scalars(select(Xorb.id).where(Xorb.object_id == object_id)))

    xorbs = hub.db.run(work)
    for xorb_id in xorbs or []:
        forget_xorb(hub, xorb_id)  # its client sends it again
    return xorbs is not None


def _pages(stats: Iterable[ObjectStat]) -> Iterator[list[ObjectStat]]:
    page: list[ObjectStat] = []
    for stat in stats:
        page.append(stat)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
