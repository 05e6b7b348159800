"""Sketches of tensors: a few kilobytes each, by which deltas are priced without reading tensors."""

from collections.abc import Callable, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.refs import EncodingRef
from app.db.inserting import insert_if_absent
from app.db.tables import Sketch

MIN_SKETCHED_NBYTES = 4096
"""A smaller tensor is as small as its sketch: it is coded alone."""


def shape_key(dtype: str, nbytes: int) -> str:
    """``{dtype}:{elements}``: sketches of tensors with equal keys are of the same places."""
    from codec.elements.dtypes import dtype_of, layout_of

    return f"{dtype}:{nbytes // layout_of(dtype_of(dtype)).width}"


def comparable_keys(dtype: str, nbytes: int) -> tuple[str, ...]:
    """Shape keys of all tensors whose sketches compare with that of such a tensor, its own first.

    Those of as many elements, and of the same dtype or one that bases are cast from.
    """
    from codec.elements.dtypes import dtype_of, layout_of

    own = shape_key(dtype, nbytes)
    elements = nbytes // layout_of(dtype_of(dtype)).width
    return (own, *(f"{twin}:{elements}" for twin in castable(dtype) if twin != dtype))


def castable(dtype: str) -> tuple[str, ...]:
    """Dtypes of bases that serve tensors of ``dtype``, itself among them."""
    from codec.elements.words import CASTABLE

    twins = sorted(each.name for each in CASTABLE)
    return tuple(twins) if dtype in twins else (dtype,)


def coded_dtype(dtype: str | None) -> str:
    """The dtype the codec is told: ggml block types, which it does not know, are bytes to it."""
    from codec.elements.dtypes import DType

    return dtype if dtype is not None and dtype in DType.__members__ else "U8"


def make_sketch(
    ref: EncodingRef, dtype: str, read: Callable[[int, int], bytes | memoryview]
) -> bytes:
    """The sketch of a tensor; ``read(start, stop)`` gives its raw bytes."""
    import codec

    ranges = codec.sketch_ranges(ref.nbytes, dtype)
    return codec.sketch_from_samples(
        (read(start, stop) for start, stop in ranges), nbytes=ref.nbytes, dtype=dtype
    )


def save_sketch(session: Session, content_id: int, dtype: str, nbytes: int, data: bytes) -> None:
    """Keep a sketch; one that exists stays."""
    row = {"content_id": content_id, "shape_key": shape_key(dtype, nbytes), "data": data}
    insert_if_absent(session, Sketch, row)


def load_sketches(session: Session, content_ids: Iterable[int]) -> dict[int, bytes]:
    """Sketches by content id; contents without one are absent."""
    ids = sorted(set(content_ids))
    found: dict[int, bytes] = {}
    for at in range(0, len(ids), 1000):
        batch = ids[at : at + 1000]
        rows = session.execute(
            select(Sketch.content_id, Sketch.data).where(Sketch.content_id.in_(batch))
        )
        found.update((content_id, data) for content_id, data in rows)
    return found
