"""Second half of a collection: bytes of retired objects leave the store, then their rows go.

Rule G3: the row outlives the bytes, so a crash between the two repeats the deletion. An object that
was *replaced* passes the delete gate first: what replaced it is read, decoded and compared in this
process; if that fails the old encoding is put back.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.refs import EncodingRef, load_former_refs, load_refs
from app.contents.verifying import verify_content
from app.db.tables import Content, Encoding, FormerEncoding, StoredObject
from app.errors import Damaged
from app.hub import Hub
from app.store.contract import StoreUnavailable

log = structlog.get_logger(__name__)

BACKOFF_S = 300.0
"""Wait after a failed deletion, times the number of failures."""


def reap(hub: Hub, *, before: datetime) -> tuple[int, int]:
    """Delete objects whose ``not_before`` has come; returns (objects, stored bytes) deleted."""
    reaped = reaped_nbytes = 0
    last_id = 0
    while True:
        with hub.db.read() as session:
            row = session.scalars(
                select(StoredObject)
                .where(
                    StoredObject.state == "retired",
                    StoredObject.not_before <= before,
                    StoredObject.id > last_id,
                )
                .order_by(StoredObject.id)
                .limit(1)
            ).first()
        if row is None:
            break
        last_id = row.id
        if _replacements_hold(hub, row.id) and _delete_object(hub, row.id, row.key):
            reaped += 1
            reaped_nbytes += row.nbytes
    return reaped, reaped_nbytes


def _delete_object(hub: Hub, object_id: int, key: str) -> bool:
    try:
        hub.store.delete(key)
    except StoreUnavailable as error:
        log.warning("object_not_deleted", key=key, error=str(error))
        hub.db.run(lambda session: _postpone(session, hub, object_id))
        return False

    def forget(session: Session) -> None:
        row = session.get(StoredObject, object_id, with_for_update=True)
        if row is not None and row.state == "retired":
            session.delete(row)

    hub.db.run(forget)
    return True


def _postpone(session: Session, hub: Hub, object_id: int) -> None:
    row = session.get(StoredObject, object_id, with_for_update=True)
    if row is not None:
        row.attempts += 1
        row.not_before = hub.clock.now() + timedelta(seconds=BACKOFF_S * row.attempts)


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
            _put_back(hub, row)
            return False
        except StoreUnavailable:
            return False
    return True


def _put_back(hub: Hub, former: FormerEncoding) -> None:
    """Make a former encoding current again if it is sound; keep its object in any case."""
    with hub.db.read() as session:
        places = load_former_refs(session, former.content_id)
    place = next((ref for ref in places if ref.object_id == former.object_id), None)
    sound = place is not None and _is_sound(hub, place)

    def work(session: Session) -> None:
        content = session.get(Content, former.content_id, with_for_update=True)
        current = session.scalars(
            select(Encoding).where(Encoding.content_id == former.content_id).with_for_update()
        ).first()
        stored = session.get(StoredObject, former.object_id, with_for_update=True)
        row = session.get(FormerEncoding, former.id)
        if content is None or current is None or stored is None or row is None:
            return
        if stored.state != "retired":
            return
        content.health = "ok" if sound else "damaged"
        if not sound:
            stored.not_before = hub.clock.now() + timedelta(seconds=hub.settings.timers.replaced_s)
            return
        stored.state, stored.not_before = "live", None
        lost_object = current.object_id
        for name in ("codec", "base_id", "object_id", "start", "nbytes", "checks"):
            setattr(current, name, getattr(row, name))
        current.final = False
        session.delete(row)
        objects.retire_unreferenced(session, hub, [lost_object])

    hub.db.run(work)


def _is_sound(hub: Hub, ref: EncodingRef) -> bool:
    """Whether an encoding could be made current: it decodes, and its base has no base."""
    if ref.base is not None and ref.base.base is not None:
        return False
    try:
        verify_content(hub, ref)
    except Damaged:
        return False
    return True
