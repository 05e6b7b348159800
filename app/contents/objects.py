"""Life of a stored object: pending -> live -> retired -> doomed -> gone.

The row is written before the first byte (so a crash leaves a trace that expires), it is published
only while still pending (so a writer that was given up on can publish nothing), and it outlives its
bytes (so a crash between the two halves of a deletion repeats the deletion). What is retired may be
revived until it is doomed, which comes before its bytes go. See docs/durability.md.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.inserting import batches
from app.db.tables import AwaitedPart, Encoding, Hold, LfsPart, StoredObject, Xorb
from app.errors import Conflict
from app.hub import Hub
from app.store import keys

log = structlog.get_logger(__name__)


class ObjectLost(Conflict):
    """The pending object was collected before it could be published; start over."""

    transient = True


@dataclass(frozen=True, slots=True)
class PendingObject:
    """An intent: the key to write to and the row to publish."""

    id: int
    key: str


def begin(hub: Hub, purpose: str, *, staging: bool = False) -> PendingObject:
    """Record the intent to write an object, in a transaction of its own."""
    now = hub.clock.now()
    make_key = keys.staging_key if staging else keys.object_key
    row = StoredObject(
        key=make_key(hub.store_epoch),
        purpose=purpose,
        state="pending",
        created_at=now,
        verified_at=now,
        expires_at=now + timedelta(seconds=hub.settings.timers.intent_s),
    )

    def work(session: Session) -> None:
        session.add(row)

    hub.db.run(work)
    return PendingObject(id=row.id, key=row.key)


def extend(hub: Hub, pending: PendingObject) -> None:
    """Push the expiry of an intent out: called while a long upload makes progress."""

    def work(session: Session) -> None:
        row = _lock_pending(session, pending.id)
        row.expires_at = hub.clock.now() + timedelta(seconds=hub.settings.timers.intent_s)

    hub.db.run(work)


def publish(session: Session, pending: PendingObject, nbytes: int) -> None:
    """Make a durable, read-back object live. Raises :class:`ObjectLost` if it was given up on."""
    row = _lock_pending(session, pending.id)
    row.state = "live"
    row.nbytes = nbytes
    row.expires_at = None


def hold(session: Session, object_ids: Collection[int]) -> None:
    """Lock live objects that encodings are about to name; none is retired before the commit.

    Raises :class:`ObjectLost` if one is live no more.
    """
    for ids in batches(sorted(object_ids)):
        rows = select(StoredObject.id).where(StoredObject.id.in_(ids))
        session.execute(rows.order_by(StoredObject.id).with_for_update()).all()
        # Looked at in a statement after the lock: on PostgreSQL the first one may see the past.
        live = session.scalars(rows.where(StoredObject.state == "live")).all()
        if len(live) < len(ids):
            raise ObjectLost("bytes of the upload were dropped meanwhile; send it again")


def is_live(session: Session, object_id: int) -> bool:
    """Whether an object may be referred to."""
    row = session.get(StoredObject, object_id)
    return row is not None and row.state == "live"


def abandon(hub: Hub, pending: PendingObject) -> None:
    """Give an intent up: its bytes, if any, go with the next collection."""

    def work(session: Session) -> None:
        row = session.get(StoredObject, pending.id, with_for_update=True)
        if row is not None and row.state == "pending":
            row.state = "retired"
            row.expires_at = None
            row.not_before = hub.clock.now()

    hub.db.run(work)


def retire_unreferenced(session: Session, hub: Hub, object_ids: Iterable[int]) -> None:
    """Retire those live objects that nothing refers to any more.

    They stay readable for the replaced-object grace period, for readers whose plan names them.
    """
    ids = sorted(set(object_ids))
    if not ids:
        return
    rows = session.scalars(
        select(StoredObject)
        .where(StoredObject.id.in_(ids), StoredObject.state == "live")
        .order_by(StoredObject.id)
        .with_for_update()
    ).all()
    used = _used(session, ids)
    not_before = hub.clock.now() + timedelta(seconds=hub.settings.timers.replaced_s)
    for row in rows:
        if row.id not in used:
            row.state = "retired"
            row.not_before = not_before


def revive(session: Session, object_id: int) -> bool:
    """Make a retired object live again; False if its deletion has begun, or it is gone."""
    row = session.get(StoredObject, object_id, with_for_update=True)
    if row is None or row.state != "retired" or row.doomed_at is not None:
        return False
    row.state, row.not_before = "live", None
    return True


def doom(
    session: Session, hub: Hub, object_ids: Collection[int], *, due: datetime
) -> list[StoredObject]:
    """Begin the deletion of those objects that are still retired and due; these, locked.

    None while a backup holds them. One that is referred to is a bug of ours: it stays, and fsck
    names it.
    """
    rows = session.scalars(
        select(StoredObject)
        .where(
            StoredObject.id.in_(object_ids),
            StoredObject.state == "retired",
            StoredObject.not_before <= due,
        )
        .order_by(StoredObject.id)
        .with_for_update()
    ).all()
    held = select(Hold.owner).where(Hold.expires_at > hub.clock.now()).limit(1)
    if session.scalar(held) is not None:
        return []
    used = _used(session, [row.id for row in rows])
    doomed = [row for row in rows if row.id not in used]
    for row in doomed:
        row.doomed_at = row.doomed_at or hub.clock.now()
    for object_id in used:
        log.error("retired_object_in_use", object_id=object_id)
    return doomed


def _used(session: Session, object_ids: Collection[int]) -> set[int | None]:
    """Which of those objects are referred to.

    Look in statements after the locks: on PostgreSQL one statement would see the past.
    """
    encoded = select(Encoding.object_id).where(Encoding.object_id.in_(object_ids))
    return {*session.scalars(encoded), *held_for_uploads(session, object_ids)}


def held_for_uploads(session: Session, object_ids: Collection[int]) -> set[int | None]:
    """Which of those objects are xorbs that clients remember, or parts of what is on its way."""
    return {
        *session.scalars(select(Xorb.object_id).where(Xorb.object_id.in_(object_ids))),
        *session.scalars(select(LfsPart.object_id).where(LfsPart.object_id.in_(object_ids))),
        *session.scalars(
            select(AwaitedPart.object_id).where(AwaitedPart.object_id.in_(object_ids))
        ),
    }


def _lock_pending(session: Session, object_id: int) -> StoredObject:
    row = session.get(StoredObject, object_id, with_for_update=True)
    if row is None or row.state != "pending":
        raise ObjectLost("the upload took too long and was given up; send it again")
    return row
