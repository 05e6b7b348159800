"""How big a model is: parameters of its tensors."""

import json
import math
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalog.listing import Entry
from app.db.inserting import batches
from app.db.tables import Segment
from app.formats.safetensors import DTYPE_BITS


def count_parameters(session: Session, files: Sequence[Entry]) -> dict[str, int]:
    """Elements per dtype of the safetensors files among ``files``; packed dtypes by their bits."""
    ids = sorted(
        {
            entry.file_id
            for entry in files
            if entry.file_id is not None and entry.path.endswith(".safetensors")
        }
    )
    bits: dict[str, int] = {}
    for batch in batches(ids):
        rows = session.execute(
            select(Segment.dtype, func.sum(Segment.nbytes))
            .where(Segment.file_id.in_(batch), Segment.role == "tensor", Segment.dtype.is_not(None))
            .group_by(Segment.dtype)
        )
        for dtype, nbytes in rows:
            assert dtype is not None
            bits[dtype] = bits.get(dtype, 0) + 8 * int(nbytes)
    return {
        dtype: total // DTYPE_BITS[dtype]
        for dtype, total in sorted(bits.items())
        if dtype in DTYPE_BITS
    }


def count_gguf_parameters(session: Session, files: Sequence[Entry]) -> int | None:
    """Elements of the first GGUF file in path order; None without one that was understood."""
    first = next((entry.file_id for entry in files if entry.path.endswith(".gguf")), None)
    shapes = session.scalars(
        select(Segment.shape).where(Segment.file_id == first, Segment.role == "tensor")
    ).all()
    return sum(math.prod(json.loads(shape)) for shape in shapes if shape) or None
