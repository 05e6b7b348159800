"""A former encoding made current again, because what replaced it turned out to be damaged.

Only one that decodes, whose base still stands alone, of a content that is nobody's base if it is a
delta, in an object whose deletion has not begun: looked at again under the locks, like any swap.
"""

from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.locking import lock_contents
from app.contents.refs import EncodingRef, load_former_refs
from app.contents.verifying import verify_content
from app.db.tables import Content, Encoding, FormerEncoding, StoredObject
from app.errors import Damaged
from app.hub import Hub

log = structlog.get_logger(__name__)


def put_back(hub: Hub, former_id: int, damaged: EncodingRef) -> bool:
    """Let a former encoding take the place of ``damaged``, the content's present one.

    False if it may not: then the content is marked damaged and the former encoding's object is kept
    for another grace period, as a spare copy for readers and repair; nothing at all happens if the
    content was encoded anew meanwhile. Raises StoreUnavailable.
    """
    with hub.db.read() as session:
        row = session.get(FormerEncoding, former_id)
        spares = load_former_refs(session, damaged.content_id)
    spare = next((ref for ref in spares if row and ref.object_id == row.object_id), None)
    sound = spare is not None and _is_sound(hub, spare)
    return hub.db.run(lambda session: _exchange(session, hub, former_id, damaged, sound=sound))


def _is_sound(hub: Hub, ref: EncodingRef) -> bool:
    try:
        verify_content(hub, ref)
    except Damaged:
        return False
    return True


def _exchange(
    session: Session, hub: Hub, former_id: int, damaged: EncodingRef, *, sound: bool
) -> bool:
    former = session.get(FormerEncoding, former_id)
    if former is None:
        return False
    bases = set() if former.base_id is None else {former.base_id}
    lock_contents(session, {former.content_id} | bases)
    current = session.scalars(
        select(Encoding).where(Encoding.content_id == former.content_id).with_for_update()
    ).first()
    content = session.get(Content, former.content_id, populate_existing=True)
    if content is None or current is None or not _lies_at(current, damaged):
        return False
    if not (sound and _fits(session, former) and objects.revive(session, former.object_id)):
        content.health = "damaged"
        _keep(session, hub, former.object_id)
        return False
    content.health = "ok"
    left = current.object_id
    current.codec, current.base_id, current.object_id = (
        former.codec,
        former.base_id,
        former.object_id,
    )
    current.start, current.nbytes, current.checks = former.start, former.nbytes, former.checks
    current.final = False
    session.delete(former)
    session.flush()
    objects.retire_unreferenced(session, hub, [left])
    log.info("put_back", content_id=content.id, object_id=current.object_id)
    return True


def _lies_at(encoding: Encoding, ref: EncodingRef) -> bool:
    return (encoding.object_id, encoding.start) == (ref.object_id, ref.start)


def _fits(session: Session, former: FormerEncoding) -> bool:
    """Whether the delta depth stays 1."""
    if former.base_id is None:
        return True
    alone = select(Encoding.id).where(
        Encoding.content_id == former.base_id, Encoding.base_id.is_(None)
    )
    needed = select(Encoding.id).where(Encoding.base_id == former.content_id).limit(1)
    return session.scalar(alone) is not None and session.scalar(needed) is None


def _keep(session: Session, hub: Hub, object_id: int) -> None:
    row = session.get(StoredObject, object_id, with_for_update=True)
    if row is not None and row.state == "retired" and row.doomed_at is None:
        row.not_before = hub.clock.now() + timedelta(seconds=hub.settings.timers.replaced_s)
