"""Parts of an awaited file: stored objects that hold what came so far, whoever fetches or reads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from blake3 import blake3
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.db.tables import AwaitedFile, AwaitedPart, StoredObject
from app.errors import Conflict, ContentNotFound
from app.hub import Hub
from app.store.contract import ObjectMissing

READ_NBYTES = 4 << 20
"""Bytes read in one request."""


class PartTaken(Conflict):
    """Another attempt at the same file has brought some of these bytes."""

    transient = True


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``[start, stop)`` of an awaited file and the object that holds them."""

    start: int
    stop: int
    key: str


def load_parts(session: Session, repo_id: int, oid: str) -> list[Part]:
    """What is here of a file, by offset; parts do not overlap."""
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


def store_part(
    hub: Hub, repo_id: int, oid: str, start: int, buffers: Iterable[bytes]
) -> Part | None:
    """Store bytes of a file from ``start`` on, durably; None if there were none.

    Raises ContentNotFound if the file is awaited no more, PartTaken, and what ``buffers`` raise.
    """
    some = iter(buffers)
    first = next(some, b"")
    if not first:
        return None
    pending = objects.begin(hub, "part")
    hasher = blake3()

    def hashed() -> Iterator[bytes]:
        for buffer in chain([first], some):
            hasher.update(buffer)
            yield buffer

    try:
        nbytes = hub.store.put(pending.key, hashed())

        def work(session: Session) -> None:
            awaited = session.get(AwaitedFile, (repo_id, oid), with_for_update=True)
            if awaited is None:
                raise ContentNotFound("the file is awaited no more")
            if _is_taken(session, repo_id, oid, start, start + nbytes):
                raise PartTaken("somebody else fetches the same file")
            objects.publish(session, pending, nbytes)
            awaited.touched_at = hub.clock.now()
            session.add(
                AwaitedPart(
                    repo_id=repo_id,
                    oid=oid,
                    start=start,
                    nbytes=nbytes,
                    digest=hasher.digest(),
                    object_id=pending.id,
                )
            )

        hub.db.run(work)
    except BaseException:
        objects.abandon(hub, pending)
        raise
    return Part(start, start + nbytes, pending.key)


def drop_rotten(hub: Hub, repo_id: int, oid: str) -> int:
    """Forget parts that the store has lost, or returns otherwise than they came; how many."""
    with hub.db.read() as session:
        rows = session.execute(
            select(AwaitedPart.object_id, AwaitedPart.nbytes, AwaitedPart.digest, StoredObject.key)
            .join(StoredObject, StoredObject.id == AwaitedPart.object_id)
            .where(AwaitedPart.repo_id == repo_id, AwaitedPart.oid == oid)
        ).all()
    rotten = [row.object_id for row in rows if _digest(hub, row.key, row.nbytes) != row.digest]

    def work(session: Session) -> None:
        awaited = session.get(AwaitedFile, (repo_id, oid), with_for_update=True)
        if awaited is not None:
            awaited.verified = False
        session.execute(delete(AwaitedPart).where(AwaitedPart.object_id.in_(rotten)))
        session.flush()
        objects.retire_unreferenced(session, hub, rotten)

    if rotten:
        hub.db.run(work)
    return len(rotten)


def _digest(hub: Hub, key: str, nbytes: int) -> bytes | None:
    """BLAKE3 of an object as the store returns it; None if it has none."""
    hasher = blake3()
    try:
        for start in range(0, nbytes, READ_NBYTES):
            hasher.update(hub.store.read(key, start, min(start + READ_NBYTES, nbytes)))
    except ObjectMissing:
        return None
    return hasher.digest()


def _is_taken(session: Session, repo_id: int, oid: str, start: int, stop: int) -> bool:
    """Whether a part has any of these bytes. The awaited row is locked, so none comes meanwhile."""
    overlapping = (
        select(AwaitedPart.start)
        .where(AwaitedPart.repo_id == repo_id, AwaitedPart.oid == oid)
        .where(AwaitedPart.start < stop, AwaitedPart.start + AwaitedPart.nbytes > start)
    )
    return session.scalar(overlapping.limit(1)) is not None


def drop_parts(session: Session, hub: Hub, awaited: AwaitedFile) -> None:
    """Forget all that came of a file, whose row is locked."""
    mine = (AwaitedPart.repo_id == awaited.repo_id, AwaitedPart.oid == awaited.oid)
    held = session.scalars(select(AwaitedPart.object_id).where(*mine)).all()
    session.execute(delete(AwaitedPart).where(*mine))
    awaited.verified = False
    session.flush()
    objects.retire_unreferenced(session, hub, held)
