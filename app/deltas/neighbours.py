"""Which contents might serve as the base of a tensor: found by name, by family and by sketch."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, CompoundSelect, case, func, select, true, union
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding, Repo, Segment, Sketch, TreeEntry
from app.deltas.domain import Holders, may_serve_clause
from app.deltas.sketches import castable, comparable_keys

POOL = 96
"""Sketches compared per tensor and way of finding them."""

NEAREST = 4
"""Bases priced per tensor."""

LOOKED_AT = 4_000
"""Newest tensors of a shape among which a search by shape looks, besides those of relatives.

All there are, but on a hub with thousands of models of one architecture, whose tensors have few
shapes: there a search would look at all of them for each tensor that comes in.
"""

NARROW_ROW = 32
"""A last dimension below this is that of a kernel, not of a row."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a search sees it."""

    content_id: int
    name: str | None
    dtype: str
    nbytes: int
    shape: tuple[int, ...]
    shape_key: str

    @property
    def columns(self) -> int:
        """Length of the rows if it is seen as a matrix; 0 for a vector.

        Kernels of convolutions belong to the rows of their output, experts stand below each other.
        """
        if len(self.shape) < 2:
            return 0
        return self.shape[-1] if self.shape[-1] >= NARROW_ROW else math.prod(self.shape[1:])


def same_shape_contents(
    session: Session, tensor: Tensor, holders: Holders | None, preferred: Collection[int]
) -> list[int]:
    """Sketched contents of the tensor's shape that ``holders`` may use, the likeliest first.

    Without ``holders``: of whomever, to find those that may use a public tensor. Those of its own
    name first, then any; within each, those in ``preferred`` repositories, then those of its own
    dtype before those that would be cast, then the newest. A search by shape alone finds parents
    whose card is missing or wrong, and renamed tensors; it looks at ``LOOKED_AT`` of a shape.
    """
    found: dict[int, None] = {}
    keys = comparable_keys(tensor.dtype, tensor.nbytes)
    looked_at = _newest_or_preferred(keys, preferred)
    is_alike = func.max(case((Sketch.shape_key == tensor.shape_key, 1), else_=0))
    for named in (Segment.name == tensor.name, None):
        query = (
            select(Sketch.content_id)
            .join(Content, Content.id == Sketch.content_id)
            .join(Segment, Segment.content_id == Sketch.content_id)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .where(
                Sketch.content_id.in_(looked_at),
                Sketch.shape_key.in_(keys),
                Sketch.content_id != tensor.content_id,
                Content.state == "live",
                Content.health == "ok",
                true() if holders is None else may_serve_clause(holders),
            )
            .group_by(Sketch.content_id)
            .order_by(_is_preferred(preferred).desc(), is_alike.desc(), Sketch.content_id.desc())
            .limit(POOL)
        )
        found.update(dict.fromkeys(session.scalars(query if named is None else query.where(named))))
    return list(found)


def row_variants(session: Session, tensor: Tensor, preferred: Collection[int]) -> list[int]:
    """Contents of the tensor's name in preferred repositories that have more or fewer rows of it.

    So an embedding with added tokens finds the one it grew from, in whatever precision.
    """
    if len(tensor.shape) < 2 or not preferred:
        return []
    rows = session.execute(
        select(Segment.content_id, Segment.shape)
        .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
        .join(Content, Content.id == Segment.content_id)
        .where(
            TreeEntry.repo_id.in_(preferred),
            Segment.name == tensor.name,
            Segment.dtype.in_(castable(tensor.dtype)),
            Segment.shape != _shape(tensor.shape),
            Content.state == "live",
            Content.health == "ok",
        )
        .distinct()
        .order_by(Segment.content_id)
        .limit(POOL)
    )
    tail = _shape(tensor.shape[1:])
    return [content_id for content_id, shape in rows if shape and _tail(shape) == tail]


def self_contained(session: Session, content_ids: Collection[int]) -> dict[int, int]:
    """Content -> what can be a base in its place: itself, or the base it is a delta against."""
    ids = sorted(content_ids)
    rows = session.execute(
        select(Encoding.content_id, Encoding.base_id).where(Encoding.content_id.in_(ids))
    )
    return {content_id: base_id or content_id for content_id, base_id in rows}


def _newest_or_preferred(
    keys: Collection[str], preferred: Collection[int]
) -> CompoundSelect[tuple[int]]:
    """Ids of the newest sketches of each key, and of all contents of preferred repositories."""
    newest = [
        select(Sketch.content_id)
        .where(Sketch.shape_key == key)
        .order_by(Sketch.content_id.desc())
        .limit(LOOKED_AT)
        .subquery()
        for key in keys
    ]
    of_preferred = (
        select(Segment.content_id)
        .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
        .where(TreeEntry.repo_id.in_(sorted(preferred)))
    )
    return union(*(select(each.c.content_id) for each in newest), of_preferred)


def _is_preferred(preferred: Collection[int]) -> ColumnElement[int]:
    return func.max(case((TreeEntry.repo_id.in_(sorted(preferred)), 1), else_=0))


def _shape(shape: tuple[int, ...]) -> str:
    """A shape as segments have it."""
    return "[" + ",".join(map(str, shape)) + "]"


def _tail(shape: str) -> str:
    return "[" + shape.partition(",")[2]
