"""First half of a collection: what nobody refers to is condemned, later deleted from the database.

Rules G1, G2 and G5 of the model-checked protocol: every step locks rows in one statement and looks
at references in the next (on PostgreSQL a single statement would see a snapshot older than its
locks); a condemned row still reads, and an upload or commit resurrects it; the last step is a
DELETE, which the foreign keys may veto.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.accounts.proposing import mark_proposers_stale
from app.accounts.usage import mark_stale
from app.contents import objects
from app.db.instants import Deadline, is_over
from app.db.tables import (
    AwaitedFile,
    AwaitedPart,
    Content,
    Encoding,
    File,
    FileGrant,
    Lease,
    LfsPart,
    LfsUpload,
    ProposedFile,
    Segment,
    StoredObject,
    TreeEntry,
    TuningCheckpoint,
    TuningFile,
    Xorb,
    XorbTerm,
)
from app.db.windows import id_windows
from app.deltas.sparse import owe_repacking
from app.hub import Hub
from app.mirror.parts import drop_parts
from app.xet.epoch import bump_cas_epoch

BATCH = 500
"""Rows per transaction: keeps locks short."""

WINDOW = 20_000
"""Rows that one statement looks at: a collection may take longer on a larger hub, no lock may."""


def file_is_unreferenced(now: datetime) -> ColumnElement[bool]:
    """Nothing keeps the file, no lease holds it, no multipart upload is about to name it."""
    return and_(
        ~file_is_kept(),
        ~exists().where(Lease.file_id == File.id, Lease.expires_at > now),
        ~exists().where(LfsUpload.sha256 == File.sha256, LfsUpload.expires_at > now),
    )


def file_is_kept() -> ColumnElement[bool]:
    """A commit shows the file, or it is one to train on, or a state that training goes on from."""
    return or_(
        exists().where(TreeEntry.file_id == File.id),
        exists().where(TuningFile.file_id == File.id),
        exists().where(TuningCheckpoint.file_id == File.id),
    )


def content_is_unreferenced(now: datetime) -> ColumnElement[bool]:
    """No file consists of the content, no delta needs it as its base, no lease holds it."""
    return and_(
        ~exists().where(Segment.content_id == Content.id),
        ~exists().where(Encoding.base_id == Content.id),
        ~exists().where(Lease.content_id == Content.id, Lease.expires_at > now),
    )


def drop_expired_leases(hub: Hub, *, strict: bool = False) -> int:
    """Delete leases past their expiry; returns how many.

    ``strict``, here and below: also those that end later than a right clock can have set.
    """
    expired = _is_over(hub, Lease.expires_at, hub.settings.timers.lease_s, strict=strict)

    def work(session: Session) -> int:
        ids = session.scalars(
            select(Lease.id)
            .where(expired)
            .order_by(Lease.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        session.execute(delete(Lease).where(Lease.id.in_(ids)))
        return len(ids)

    return _until_zero(hub, work)


def drop_expired_uploads(hub: Hub, *, strict: bool = False) -> int:
    """Delete multipart uploads past their expiry and retire their parts; returns how many."""
    expired = _is_over(hub, LfsUpload.expires_at, hub.settings.timers.lease_s, strict=strict)

    def work(session: Session) -> int:
        ids = session.scalars(
            select(LfsUpload.id)
            .where(expired)
            .order_by(LfsUpload.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        parts = session.scalars(select(LfsPart.object_id).where(LfsPart.upload_id.in_(ids))).all()
        session.execute(delete(LfsUpload).where(LfsUpload.id.in_(ids)))
        objects.retire_unreferenced(session, hub, parts)
        return len(ids)

    return _until_zero(hub, work)


def drop_idle_parts(hub: Hub) -> int:
    """Drop what came of awaited files that nobody went on fetching; returns of how many."""
    idle_since = hub.clock.now() - timedelta(seconds=hub.settings.timers.intent_s)
    has_parts = exists().where(
        AwaitedPart.repo_id == AwaitedFile.repo_id, AwaitedPart.oid == AwaitedFile.oid
    )

    def work(session: Session) -> int:
        idle = session.scalars(
            select(AwaitedFile)
            .where(AwaitedFile.touched_at <= idle_since, has_parts)
            .order_by(AwaitedFile.repo_id, AwaitedFile.oid)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for awaited in idle:
            drop_parts(session, hub, awaited)
        return len(idle)

    return _until_zero(hub, work)


def condemn_files(hub: Hub, *, created_before: datetime) -> int:
    """Condemn unreferenced files made before a time; returns how many."""
    now = hub.clock.now()
    free = file_is_unreferenced(now)

    def work(session: Session, window: ColumnElement[bool]) -> int:
        locked = session.scalars(
            select(File.id)
            .where(window, File.state == "live", File.created_at <= created_before, free)
            .order_by(File.id)
            .limit(BATCH)
            .with_for_update(of=File, skip_locked=True)
        ).all()
        session.execute(
            update(File)
            .where(File.id.in_(locked), free)
            .values(state="condemned", condemned_at=now)
            .execution_options(synchronize_session=False)
        )
        return len(locked)

    return _over_windows(hub, File, work)


def condemn_contents(hub: Hub, *, created_before: datetime) -> int:
    """Condemn unreferenced contents made before a time; returns how many."""
    now = hub.clock.now()
    free = content_is_unreferenced(now)

    def work(session: Session, window: ColumnElement[bool]) -> int:
        locked = session.scalars(
            select(Content.id)
            .where(window, Content.state == "live", Content.created_at <= created_before, free)
            .order_by(Content.id)
            .limit(BATCH)
            .with_for_update(of=Content, skip_locked=True)
        ).all()
        session.execute(
            update(Content)
            .where(Content.id.in_(locked), free)
            .values(state="condemned", condemned_at=now)
            .execution_options(synchronize_session=False)
        )
        return len(locked)

    return _over_windows(hub, Content, work)


def kill_files(hub: Hub, *, condemned_before: datetime, at_most: int) -> int:
    """Delete files condemned before a time that are still unreferenced; returns how many."""
    free = file_is_unreferenced(hub.clock.now())

    def work(session: Session, room: int) -> int:
        locked = session.scalars(
            select(File.id)
            .where(File.state == "condemned", File.condemned_at <= condemned_before, free)
            .order_by(File.id)
            .limit(room)
            .with_for_update(of=File, skip_locked=True)
        ).all()
        doomed = session.scalars(select(File.id).where(File.id.in_(locked), free)).all()
        if not doomed:
            return 0
        terms = session.scalars(select(XorbTerm.id).where(XorbTerm.file_id.in_(doomed))).all()
        if terms:
            # Clients remember xorbs per epoch: one that is forgotten must not be named again.
            session.execute(delete(XorbTerm).where(XorbTerm.file_id.in_(doomed)))
            bump_cas_epoch(session)
        mark_proposers_stale(session, ProposedFile.file_id.in_(doomed))
        for table in (FileGrant, ProposedFile):
            mark_stale(session, select(table.repo_id).where(table.file_id.in_(doomed)))
        session.execute(delete(Segment).where(Segment.file_id.in_(doomed)))
        session.execute(delete(File).where(File.id.in_(doomed)))
        return len(doomed)

    return _within_room(hub, work, at_most)


def kill_contents(hub: Hub, *, condemned_before: datetime, at_most: int) -> int:
    """Delete contents condemned before a time that are still unreferenced; returns how many.

    Their encodings go with them; objects that hold nothing else are retired, and those that hold
    little else are packed anew.
    """
    free = content_is_unreferenced(hub.clock.now())

    def work(session: Session, room: int) -> int:
        locked = session.scalars(
            select(Content.id)
            .where(Content.state == "condemned", Content.condemned_at <= condemned_before, free)
            .order_by(Content.id)
            .limit(room)
            .with_for_update(of=Content, skip_locked=True)
        ).all()
        doomed = session.scalars(select(Content.id).where(Content.id.in_(locked), free)).all()
        if not doomed:
            return 0
        held = session.scalars(
            select(Encoding.object_id).where(Encoding.content_id.in_(doomed))
        ).all()
        session.execute(delete(Encoding).where(Encoding.content_id.in_(doomed)))
        session.execute(delete(Content).where(Content.id.in_(doomed)))
        objects.retire_unreferenced(session, hub, held)
        owe_repacking(session, hub, set(held))
        return len(doomed)

    return _within_room(hub, work, at_most)


def expire_intents(hub: Hub, *, strict: bool = False) -> int:
    """Retire pending objects past their expiry (rule G4); returns how many."""
    now = hub.clock.now()
    expired = _is_over(hub, StoredObject.expires_at, hub.settings.timers.intent_s, strict=strict)

    def work(session: Session) -> int:
        rows: Sequence[StoredObject] = session.scalars(
            select(StoredObject)
            .where(StoredObject.state == "pending", expired)
            .order_by(StoredObject.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for row in rows:
            row.state = "retired"
            row.expires_at = None
            row.not_before = now
        return len(rows)

    return _until_zero(hub, work)


def retire_unused_objects(hub: Hub, *, created_before: datetime) -> int:
    """Retire live objects that nothing refers to, made before a time; returns how many.

    Whatever drops a reference retires the object with it; this finds those whose referrers went by
    a cascade, as an account's xorbs do.
    """

    def work(session: Session, window: ColumnElement[bool]) -> int:
        ids = session.scalars(
            select(StoredObject.id)
            .where(
                window,
                StoredObject.state == "live",
                StoredObject.created_at <= created_before,
                ~exists().where(Encoding.object_id == StoredObject.id),
                ~exists().where(Xorb.object_id == StoredObject.id),
                ~exists().where(LfsPart.object_id == StoredObject.id),
                ~exists().where(AwaitedPart.object_id == StoredObject.id),
            )
            .order_by(StoredObject.id)
            .limit(BATCH)
        ).all()
        objects.retire_unreferenced(session, hub, ids)
        return len(ids)

    return _over_windows(hub, StoredObject, work)


def count(hub: Hub, table: type[File] | type[Content]) -> int:
    """Rows of a table."""
    with hub.db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _is_over(hub: Hub, until: Deadline, longest_s: float, *, strict: bool) -> ColumnElement[bool]:
    now = hub.clock.now()
    return is_over(until, now, longest_s) if strict else until <= now


def _until_zero(hub: Hub, work: Callable[[Session], int]) -> int:
    total = 0
    while done := hub.db.run(work):
        total += done
    return total


def _over_windows(
    hub: Hub,
    table: type[File] | type[Content] | type[StoredObject],
    work: Callable[[Session, ColumnElement[bool]], int],
) -> int:
    """Do ``work`` window by window of the table's ids, each until nothing in it is left to do."""
    total = 0
    for low, high in id_windows(hub.db, table.id, WINDOW):
        window = table.id.between(low + 1, high)
        total += _until_zero(hub, lambda session, window=window: work(session, window))
    return total


def _within_room(hub: Hub, work: Callable[[Session, int], int], at_most: int) -> int:
    total = 0
    while total < at_most:
        room = min(BATCH, at_most - total)
        done = hub.db.run(lambda session, room=room: work(session, room))
        if not done:
            break
        total += done
    return total
