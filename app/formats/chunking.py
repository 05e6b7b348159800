"""Content-defined chunks of files that have no tensors: equal runs of bytes are stored once."""

from codec.cdc import ChunkBoundaries

MIN_NBYTES = 256 << 10
AVERAGE_NBYTES = 1 << 20
MAX_NBYTES = 4 << 20
"""A chunk is a row in three tables and a frame: smaller ones would cost what they save."""


class Chunker:
    """Chunk boundaries of one stream, which depend on its bytes alone, not on how it is fed."""

    def __init__(self) -> None:
        self._boundaries = ChunkBoundaries(MIN_NBYTES, AVERAGE_NBYTES, MAX_NBYTES)

    def feed(self, buffer: memoryview) -> list[int]:
        """Take the next bytes; offsets in the stream at which chunks end, in order.

        The last chunk ends where the stream does.
        """
        return self._boundaries.feed(buffer)
