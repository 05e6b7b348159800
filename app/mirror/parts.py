"""Parts of an awaited file: stored objects that hold what came so far, whoever fetches or reads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from blake3 import blake3
from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.checked import CheckedRange, read_checked
from app.db.tables import AwaitedFile, AwaitedPart, StoredObject
from app.digest import PieceHasher
from app.errors import Conflict, ContentNotFound, Damaged
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
    object_id: int
    stored: CheckedRange

    def read(self, hub: Hub, start: int, stop: int) -> memoryview:
        """Bytes ``[start, stop)`` of the file, as they came; raises as :func:`read_checked`."""
        return read_checked(hub, self.stored, start - self.start, stop - self.start)


def load_parts(session: Session, repo_id: int, oid: str) -> list[Part]:
    """What is here of a file, by offset; parts do not overlap."""
    rows = session.execute(_parts_of(repo_id, oid).order_by(AwaitedPart.start))
    return [_part(*row) for row in rows]


def find_part(session: Session, repo_id: int, oid: str, position: int) -> Part | None:
    """The part that holds the byte at a position."""
    row = session.execute(
        _parts_of(repo_id, oid)
        .where(AwaitedPart.start <= position)
        .order_by(AwaitedPart.start.desc())
        .limit(1)
    ).one_or_none()
    if row is None or position >= row.start + row.nbytes:
        return None
    return _part(*row)


def _parts_of(repo_id: int, oid: str) -> Select[int, int, bytes, int, str]:
    part = AwaitedPart
    return (
        select(part.start, part.nbytes, part.checks, part.object_id, StoredObject.key)
        .join(StoredObject, StoredObject.id == part.object_id)
        .where(part.repo_id == repo_id, part.oid == oid)
    )


def _part(start: int, nbytes: int, checks: bytes, object_id: int, key: str) -> Part:
    stored = CheckedRange(key=key, start=0, stored_nbytes=nbytes, checks=checks)
    return Part(start, start + nbytes, object_id, stored)


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
    whole, pieces = blake3(), PieceHasher()

    def hashed() -> Iterator[bytes]:
        for buffer in chain([first], some):
            whole.update(buffer)
            pieces.update(buffer)
            yield buffer

    try:
        nbytes = hub.store.put(pending.key, hashed())
        part = _part(start, nbytes, pieces.digest(), pending.id, pending.key)

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
                    digest=whole.digest(),
                    checks=part.stored.checks,
                    object_id=pending.id,
                )
            )

        hub.db.run(work)
    except BaseException:
        objects.abandon(hub, pending)
        raise
    return part


def drop_rotten(hub: Hub, repo_id: int, oid: str) -> int:
    """Forget parts that the store has lost, or returns otherwise than they came; how many."""
    with hub.db.read() as session:
        parts = load_parts(session, repo_id, oid)
    rotten = [part.object_id for part in parts if not _is_sound(hub, part)]

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


def _is_sound(hub: Hub, part: Part) -> bool:
    try:
        for start in range(part.start, part.stop, READ_NBYTES):
            part.read(hub, start, min(start + READ_NBYTES, part.stop))
    except (Damaged, ObjectMissing):
        return False
    return True


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
