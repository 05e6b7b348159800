"""The store beside the database: objects without rows and rows without objects, side by side.

Both are walked in the order of keys, so what is held is a page of each whatever the hub's size.
"""

from collections.abc import Callable, Iterator

from sqlalchemy import select

from app.contents.findings import Found
from app.db.tables import StoredObject
from app.gc.soundness import Inspected, lost
from app.hub import Hub

PAGE = 1000

KINDS = ("lost-object", "unknown-object")
"""What is judged here, whole, every time."""


def check_listing(hub: Hub, check: Callable[[], None]) -> Iterator[tuple[Inspected | None, Found]]:
    """Findings with the row of the object, if it has one.

    What does not match is looked at once more on its own: the hub works on meanwhile. Raises
    StoreUnavailable.
    """
    rows = _live_rows(hub)
    row = next(rows, None)
    for number, stat in enumerate(hub.store.list()):
        if number % PAGE == 0:
            check()
        while row is not None and row.key < stat.key:
            yield from ((row, found) for found in lost(hub, row))
            row = next(rows, None)
        if row is not None and row.key == stat.key:
            if row.nbytes != stat.nbytes:
                yield from ((row, found) for found in lost(hub, row))
            row = next(rows, None)
        elif _is_unknown(hub, stat.key):
            detail = f"nothing knows object {stat.key} of {stat.nbytes} bytes"
            yield None, Found("unknown-object", detail, key=stat.key)
    while row is not None:
        yield from ((row, found) for found in lost(hub, row))
        row = next(rows, None)


def _live_rows(hub: Hub) -> Iterator[Inspected]:
    """Live objects by key, in pages."""
    last = ""
    while True:
        with hub.db.read() as session:
            page = session.execute(
                select(StoredObject.id, StoredObject.key, StoredObject.nbytes)
                .where(StoredObject.key > last, StoredObject.state == "live")
                .order_by(StoredObject.key)
                .limit(PAGE)
            ).all()
        yield from (Inspected(*row) for row in page)
        if len(page) < PAGE:
            return
        last = page[-1].key


def _is_unknown(hub: Hub, key: str) -> bool:
    """Whether there is such an object and no row, of whatever state: a row precedes its object."""
    with hub.db.read() as session:
        known = session.scalar(select(StoredObject.id).where(StoredObject.key == key))
    return known is None and hub.store.stat(key) is not None
