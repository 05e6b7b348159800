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
    """``{dtype}:{elements}``: tensors with equal keys have comparable sketches."""
    from codec.dtypes import dtype_of, layout_of

    return f"{dtype}:{nbytes // layout_of(dtype_of(dtype)).width}"


def coded_dtype(dtype: str | None) -> str:
    """The dtype the codec is told: ggml block types, which it does not know, are bytes to it."""
    from codec.dtypes import DType

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
