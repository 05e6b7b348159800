"""Objects in the store that no row knows.

A row is written before the first byte and outlives the last, so a listed key without a row was
either deleted meanwhile or written by a process that had been given up on. Keys of other store
epochs are left alone: after a database was restored from a backup they may be all that is left of
what the backup did not know.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import select

from app.db.tables import StoredObject
from app.hub import Hub
from app.store.contract import ObjectStat

PAGE = 1000
"""Keys looked up at a time."""


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


def delete_unknown(hub: Hub) -> int:
    """Delete the unknown objects of this store epoch; returns how many."""
    deleted = 0
    for kind in ("o", "s"):
        for stat in unknown_objects(hub, f"{kind}/{hub.store_epoch}/"):
            hub.store.delete(stat.key)
            deleted += 1
    return deleted


def _pages(stats: Iterable[ObjectStat]) -> Iterator[list[ObjectStat]]:
    page: list[ObjectStat] = []
    for stat in stats:
        page.append(stat)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
