"""Parts of an awaited file: stored objects that hold what came so far, whoever fetches or reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.db.inserting import insert_if_absent
from app.db.tables import AwaitedFile, AwaitedPart, StoredObject
from app.errors import ContentNotFound
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``[start, stop)`` of an awaited file and the object that holds them."""

    start: int
    stop: int
    key: str


def load_parts(session: Session, repo_id: int, oid: str) -> list[Part]:
    """What is here of a file, by offset."""
    rows = session.execute(
        select(AwaitedPart.start, AwaitedPart.nbytes, StoredObject.key)
        .join(StoredObject, StoredObject.id == AwaitedPart.object_id)
        .where(AwaitedPart.repo_id == repo_id, AwaitedPart.oid == oid)
        .order_by(AwaitedPart.start)
    )
    return [Part(start, start + nbytes, key) for start, nbytes, key in rows]


def find_part(session: Session, repo_id: int, oid: str, position: int) -> Part | None:
    """The part that holds the byte at a position."""
    row = session.execute(
        select(AwaitedPart.start, AwaitedPart.nbytes, StoredObject.key)
        .join(StoredObject, StoredObject.id == AwaitedPart.object_id)
        .where(AwaitedPart.repo_id == repo_id, AwaitedPart.oid == oid)
        .where(AwaitedPart.start <= position)
        .order_by(AwaitedPart.start.desc())
        .limit(1)
    ).one_or_none()
    if row is None or position >= row.start + row.nbytes:
        return None
    return Part(row.start, row.start + row.nbytes, row.key)


def contiguous_stop(parts: Sequence[Part], start: int) -> int:
    """Up to where bytes are here without a gap, from ``start`` on. ``parts`` are by offset."""
    stop = start
    for part in parts:
        if part.start <= stop < part.stop:
            stop = part.stop
    return stop


def store_part(
    hub: Hub, repo_id: int, oid: str, start: int, buffers: Iterable[bytes]
) -> Part | None:
    """Store bytes of a file from ``start`` on, durably; None if there were none.

    Raises ContentNotFound if the file is awaited no more, and what ``buffers`` raise.
    """
    pending = objects.begin(hub, "part")
    try:
        nbytes = hub.store.put(pending.key, buffers)
        if nbytes == 0:
            objects.abandon(hub, pending)
            return None

        def work(session: Session) -> None:
            awaited = session.get(AwaitedFile, (repo_id, oid), with_for_update=True)
            if awaited is None:
                raise ContentNotFound("the file is awaited no more")
            objects.publish(session, pending, nbytes)
            awaited.touched_at = hub.clock.now()
            row = {"repo_id": repo_id, "oid": oid, "start": start, "nbytes": nbytes}
            if not insert_if_absent(session, AwaitedPart, row | {"object_id": pending.id}):
                raise ContentNotFound("somebody else fetches the same file")

        hub.db.run(work)
    except BaseException:
        objects.abandon(hub, pending)
        raise
    return Part(start, start + nbytes, pending.key)


def drop_parts(session: Session, hub: Hub, awaited: AwaitedFile) -> None:
    """Forget all that came of a file, whose row is locked."""
    mine = (AwaitedPart.repo_id == awaited.repo_id, AwaitedPart.oid == awaited.oid)
    held = session.scalars(select(AwaitedPart.object_id).where(*mine)).all()
    session.execute(delete(AwaitedPart).where(*mine))
    awaited.verified = False
    session.flush()
    objects.retire_unreferenced(session, hub, held)
