"""Small, half-empty and mixed objects packed anew: fewer objects, no holes, the same frames.

Commits of small files leave an object each, re-basing leaves packs with holes. Frames are copied
without being decoded, then proven and swapped like any new encoding. Only what belongs to one dedup
domain is joined: owners do not come to lie side by side by it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contents.objects import held_for_uploads
from app.contents.packs import PACK_NBYTES
from app.db.tables import Content, Encoding, StoredObject
from app.deltas.budget import Budget
from app.deltas.repack import repack_objects
from app.deltas.sparse import is_sparse
from app.jobs.context import JobContext

SMALL_NBYTES = PACK_NBYTES // 8
"""Objects below this are joined."""

FEWEST = 8
"""Objects that are worth joining: each byte is copied a few times at most, however many come."""

PAGE = 500
"""Objects looked at together."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A live object that holds nothing but final encodings of sound contents."""

    id: int
    nbytes: int
    used_nbytes: int
    domain: int
    is_mixed: bool
    """Whether it holds contents of other domains, too, since some were shared meanwhile."""


def join_next(context: JobContext, budget: Budget, after: int) -> int | None:
    """Look at the next objects, by id; the last of them, None at the end.

    The same place again if the budget ended before all was done.
    """
    with context.hub.db.read() as session:
        ids, packed = _page(session, after)
    if not ids:
        return None
    for group in _groups(packed):
        if budget.is_spent:
            return after
        repack_objects(context, [each.id for each in group])
        budget.spend(sum(each.used_nbytes for each in group))
    return ids[-1]


def _page(session: Session, after: int) -> tuple[Sequence[int], list[_Packed]]:
    ids = session.scalars(
        select(StoredObject.id)
        .where(StoredObject.state == "live", StoredObject.id > after)
        .order_by(StoredObject.id)
        .limit(PAGE)
    ).all()
    uploads = held_for_uploads(session, ids)
    rows = session.execute(
        select(
            StoredObject.id,
            StoredObject.nbytes,
            func.sum(Encoding.nbytes),
            func.min(Content.domain),
            func.max(Content.domain),
            func.count().filter(Encoding.final.is_(False) | (Content.health != "ok")),
        )
        .join(Encoding, Encoding.object_id == StoredObject.id)
        .join(Content, Content.id == Encoding.content_id)
        .where(StoredObject.id.in_(ids))
        .group_by(StoredObject.id, StoredObject.nbytes)
        .order_by(StoredObject.id)
    )
    return ids, [
        _Packed(object_id, nbytes, int(used), domain, domain != other)
        for object_id, nbytes, used, domain, other, unfit in rows
        if not unfit and object_id not in uploads
    ]


def _groups(packed: Sequence[_Packed]) -> list[list[_Packed]]:
    """Objects to be packed together."""
    alone: list[list[_Packed]] = []
    small: dict[int, list[_Packed]] = defaultdict(list)
    for each in packed:
        if each.is_mixed or is_sparse(each.nbytes, each.used_nbytes):
            alone.append([each])
        elif each.nbytes < SMALL_NBYTES:
            small[each.domain].append(each)
    return alone + [group for group in small.values() if len(group) >= FEWEST]
