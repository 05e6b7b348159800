"""What leaves the bucket when contents go: objects are deleted as a whole, or packed anew.

For administrators only: which contents lie in one object tells of others' work.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.contents.objects import held_for_uploads
from app.db.inserting import batches
from app.db.tables import Encoding, StoredObject
from app.deltas.sparse import is_sparse


@dataclass(frozen=True, slots=True)
class BucketForecast:
    """Bytes of the bucket, when the grace periods are over."""

    at_once: int
    """Objects in which nothing else lies: what the next collection deletes."""
    after_repacking: int
    """Holes in objects of which so little is left that it moves to new ones."""
    holes: int
    """Holes that are too small for that: they stay until more of their object goes."""
    held_by_uploads: int
    """In objects that clients may still name in an upload: xorbs, parts."""


def forecast_bucket(session: Session, content_ids: Collection[int]) -> BucketForecast:
    """What the bucket loses if exactly these contents are deleted."""
    going: dict[int, _Use] = {}
    for ids in batches(sorted(content_ids)):
        for object_id, use in _uses(session, Encoding.content_id.in_(ids)):
            going[object_id] = going.get(object_id, _Use()).plus(use)
    at_once = after_repacking = holes = held = 0
    for ids in batches(sorted(going)):
        uploads = held_for_uploads(session, ids)
        there = dict(_uses(session, Encoding.object_id.in_(ids)))
        sizes = select(StoredObject.id, StoredObject.nbytes).where(StoredObject.id.in_(ids))
        for object_id, nbytes in session.execute(sizes):
            left = there[object_id].less(going[object_id])
            if object_id in uploads:
                held += going[object_id].nbytes
            elif not left.contents:
                at_once += nbytes
            elif not left.waiting and is_sparse(nbytes, left.nbytes):
                after_repacking += nbytes - left.nbytes
            else:
                holes += going[object_id].nbytes
    return BucketForecast(at_once, after_repacking, holes, held)


@dataclass(frozen=True, slots=True)
class _Use:
    """Current encodings in an object."""

    contents: int = 0
    nbytes: int = 0
    waiting: int = 0
    """Those that the encoder has not come to yet."""

    def plus(self, other: "_Use") -> "_Use":
        return _Use(
            self.contents + other.contents,
            self.nbytes + other.nbytes,
            self.waiting + other.waiting,
        )

    def less(self, other: "_Use") -> "_Use":
        return self.plus(_Use(-other.contents, -other.nbytes, -other.waiting))


def _uses(session: Session, which: ColumnElement[bool]) -> Iterator[tuple[int, _Use]]:
    """By object."""
    rows = session.execute(
        select(
            Encoding.object_id,
            func.count(),
            func.sum(Encoding.nbytes),
            func.count().filter(Encoding.final.is_(False)),
        )
        .where(which)
        .group_by(Encoding.object_id)
    )
    return ((object_id, _Use(*map(int, use))) for object_id, *use in rows)
