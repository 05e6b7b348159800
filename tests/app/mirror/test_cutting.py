"""Streams in parts: no byte lost, none too many, a break told after what came before it."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamDown
from app.mirror.cutting import FIRST_NBYTES, PartCutter


def parts_of(cutter: PartCutter) -> list[bytes]:
    parts: list[bytes] = []
    while not cutter.ended:
        parts.append(b"".join(cutter.part()))
    return parts


@given(
    chunks=st.lists(st.binary(max_size=50)),
    nbytes=st.integers(0, 500),
    most_nbytes=st.integers(1, 100),
    breaks=st.booleans(),
)
def test_parts_are_the_stream_up_to_its_end(
    chunks: list[bytes], nbytes: int, most_nbytes: int, breaks: bool
):
    def stream() -> Iterator[bytes]:
        yield from chunks
        if breaks:
            raise UpstreamDown("it broke")

    cutter = PartCutter(stream(), nbytes, most_nbytes=most_nbytes, most_s=60, starts_small=False)
    parts = parts_of(cutter)

    whole = b"".join(chunks)
    assert b"".join(parts) == whole[:nbytes]
    assert all(len(part) == most_nbytes for part in parts[:-1])
    assert len(parts) == 0 or len(parts[-1]) <= most_nbytes
    assert (cutter.fault is not None) == (breaks and len(whole) < nbytes)


def test_parts_grow_where_somebody_waits():
    chunks = iter([bytes(FIRST_NBYTES)] * 12)
    cutter = PartCutter(
        chunks, 12 * FIRST_NBYTES, most_nbytes=4 * FIRST_NBYTES, most_s=60, starts_small=True
    )

    assert [len(part) // FIRST_NBYTES for part in parts_of(cutter)] == [1, 2, 4, 4, 1]
