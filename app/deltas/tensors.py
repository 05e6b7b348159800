"""What a content is in the files that hold it: role, name, dtype and shape."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.refs import EncodingRef, load_refs
from app.db.tables import Content, Encoding, Segment
from app.deltas.neighbours import Tensor
from app.deltas.sketches import castable, coded_dtype, shape_key

BATCH = 1000
"""Ids in one IN list."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A content that the encoder has not come to yet."""

    ref: EncodingRef
    tensor: Tensor | None
    """None for literals and chunks."""

    @property
    def dtype(self) -> str | None:
        """What the codec is told; None for literals and chunks."""
        return None if self.tensor is None else self.tensor.dtype

    @property
    def columns(self) -> int:
        """Of the tensor as a matrix; 0 if it is none."""
        return 0 if self.tensor is None else self.tensor.columns


def load_waiting(session: Session, file_id: int) -> list[Waiting]:
    """Contents to encode with a file: its own, and what else lies in the same uploaded objects.

    In the order in which they lie there. Damaged contents are left out: a re-upload heals them.
    """
    mine = (
        select(Encoding.object_id)
        .join(Segment, Segment.content_id == Encoding.content_id)
        .where(Segment.file_id == file_id, Encoding.final.is_(False))
    )
    rows = session.execute(
        select(Content.id, Content.nbytes)
        .join(Encoding, Encoding.content_id == Content.id)
        .where(Encoding.object_id.in_(mine), Encoding.final.is_(False), Content.health == "ok")
        .order_by(Encoding.object_id, Encoding.start)
    ).all()
    ids = [content_id for content_id, _ in rows]
    refs = load_refs(session, ids)
    tensors = load_tensors(session, ids)
    return [Waiting(refs[content], tensors.get(content)) for content in ids if content in refs]


def load_tensors(session: Session, content_ids: Collection[int]) -> dict[int, Tensor]:
    """Those of the contents that are tensors somewhere, as their first file describes them."""
    found: dict[int, Tensor] = {}
    ids = sorted(content_ids)
    for at in range(0, len(ids), BATCH):
        rows = session.scalars(
            select(Segment)
            .where(Segment.content_id.in_(ids[at : at + BATCH]), Segment.role == "tensor")
            .order_by(Segment.file_id.desc(), Segment.start.desc())
        )
        found.update((row.content_id, tensor_of(row)) for row in rows)
    return found


def base_dtype_of(dtype: str | None, base: Tensor | None) -> str | None:
    """In which dtype a base serves a tensor of ``dtype``; None for its bytes as they are.

    Bytes have the dtype of whoever named them first, which may be another than this tensor knows.
    """
    if dtype is None or base is None or base.dtype not in castable(dtype):
        return None
    return base.dtype


def tensor_of(row: Segment) -> Tensor:
    """A segment whose role is tensor, as the encoder sees it."""
    dtype = coded_dtype(row.dtype)
    return Tensor(
        content_id=row.content_id,
        name=row.name,
        dtype=dtype,
        nbytes=row.nbytes,
        shape=tuple(json.loads(row.shape or "[]")),
        shape_key=shape_key(dtype, row.nbytes),
    )
