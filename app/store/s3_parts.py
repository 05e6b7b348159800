"""Cut a stream of unknown length into parts for a multipart upload, in bounded memory."""

from collections.abc import Iterable, Iterator

MIB = 1 << 20
MOST_PARTS = 10_000
"""S3's limit."""

STREAM_PART_NBYTES = 24 * MIB
"""Part of a stream whose length is unknown: 10,000 of them hold 234 GiB. Parts are of one size, as
some servers demand, so it cannot grow on the way."""

SMALLEST_PART_NBYTES = 8 * MIB


def part_nbytes_for(nbytes: int) -> int:
    """Smallest whole number of MiB, at least 8, that gets ``nbytes`` into the allowed parts."""
    needed = -(-nbytes // MOST_PARTS)
    return max(SMALLEST_PART_NBYTES, -(-needed // MIB) * MIB)


def cut(chunks: Iterable[bytes | memoryview], part_nbytes: int) -> Iterator[bytearray]:
    """Parts of exactly ``part_nbytes``, the last one shorter; one empty part for no bytes at all.

    Chunks are copied as they come, so their buffers may be reused. So is the part: it is the
    caller's until the next one is asked for.
    """
    part = bytearray()
    began = False
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        while len(view):
            take = view[: part_nbytes - len(part)]
            part += take
            view = view[len(take) :]
            if len(part) == part_nbytes:
                yield part
                part.clear()
                began = True
    if part or not began:
        yield part
