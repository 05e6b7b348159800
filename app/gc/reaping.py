"""Second half of a collection: bytes of retired objects leave the store, then their rows go.

Rule G3: an object that was *replaced* passes the delete gate first: what replaced it is read,
decoded and compared in this process; if that fails the old encoding is put back. What passes is
doomed, which nobody can undo; then its bytes go, then its row, so a crash anywhere repeats the
deletion and another collector does no harm.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.refs import load_refs
from app.contents.verifying import verify_content
from app.db.tables import FormerEncoding, StoredObject
from app.errors import Damaged
from app.gc.putback import put_back
from app.hub import Hub
from app.store.contract import StoreUnavailable

log = structlog.get_logger(__name__)

BATCH = 50
"""Objects that are doomed in one transaction."""

BACKOFF_S = 300.0
"""Wait after a failed deletion, times the number of failures."""


def reap(hub: Hub, *, before: datetime) -> tuple[int, int]:
    """Delete objects whose ``not_before`` has come; returns (objects, stored bytes) deleted."""
    reaped = reaped_nbytes = last_id = 0
    while batch := _due(hub, before, last_id):
        last_id = batch[-1].id
        passed = [each.id for each in batch if each.doomed_at or _replacements_hold(hub, each.id)]
        doomed = hub.db.run(
            lambda session, passed=passed: objects.doom(session, hub, passed, due=before)
        )
        deleted = [row for row in doomed if _delete(hub, row)]
        hub.db.run(lambda session, deleted=deleted: _forget(session, deleted))
        reaped += len(deleted)
        reaped_nbytes += sum(row.nbytes for row in deleted)
    return reaped, reaped_nbytes


def _due(hub: Hub, before: datetime, after_id: int) -> Sequence[StoredObject]:
    with hub.db.read() as session:
        return session.scalars(
            select(StoredObject)
            .where(
                StoredObject.state == "retired",
                StoredObject.not_before <= before,
                StoredObject.id > after_id,
            )
            .order_by(StoredObject.id)
            .limit(BATCH)
        ).all()


def _replacements_hold(hub: Hub, object_id: int) -> bool:
    """Whether every content that once lay in the object decodes from where it lies now."""
    with hub.db.read() as session:
        former = session.scalars(
            select(FormerEncoding).where(FormerEncoding.object_id == object_id)
        ).all()
        refs = load_refs(session, {row.content_id for row in former})
    for row in former:
        ref = refs.get(row.content_id)
        if ref is None:
            continue
        try:
            verify_content(hub, ref)
        except Damaged as error:
            log.error("replacement_damaged", content_id=row.content_id, error=str(error))
            put_back(hub, row.id, ref)
            return False
        except StoreUnavailable:
            return False
    return True


def _delete(hub: Hub, row: StoredObject) -> bool:
    try:
        hub.store.delete(row.key)
    except StoreUnavailable as error:
        log.warning("object_not_deleted", key=row.key, error=str(error))
        hub.db.run(lambda session: _postpone(session, hub, row.id))
        return False
    return True


def _forget(session: Session, rows: Collection[StoredObject]) -> None:
    ids = sorted(row.id for row in rows)
    session.execute(delete(StoredObject).where(StoredObject.id.in_(ids)))


def _postpone(session: Session, hub: Hub, object_id: int) -> None:
    row = session.get(StoredObject, object_id, with_for_update=True)
    if row is not None:
        row.attempts += 1
        row.not_before = hub.clock.now() + timedelta(seconds=BACKOFF_S * row.attempts)
