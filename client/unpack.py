"""A content's raw bytes out of what is at hand of it, window by window.

Whatever its length, a content is never whole in memory; and a window is hashed and written while it
is still in the processor's cache.
"""

from collections.abc import Callable, Iterator

import codec
from client.buffers import Buffers

WINDOW_NBYTES = 4 << 20

Read = Callable[[int, int], memoryview]
"""``read(start, stop)`` of raw bytes."""


def windows_of(nbytes: int, read: Read) -> Iterator[memoryview]:
    """All that ``read`` gives of ``nbytes`` raw bytes."""
    for start in range(0, nbytes, WINDOW_NBYTES):
        yield read(start, min(start + WINDOW_NBYTES, nbytes))


def unpack(
    frame: memoryview, nbytes: int, read_base: Read | None, buffers: Buffers
) -> Iterator[memoryview]:
    """The ``nbytes`` raw bytes of a frame; a window is valid until the next one is asked for.

    Raises CodecError if it is not a frame of that many bytes or the base is not the right one.
    """
    head = codec.FrameHead.parse(frame)
    if (head.raw_nbytes, head.stored_nbytes) != (nbytes, len(frame)):
        raise codec.CorruptFrame("the frame has other lengths than the plan says")
    step = 1
    if head.block_count:
        start, stop = head.raw_range(0)
        step = max(1, WINDOW_NBYTES // (stop - start))
    for first in range(0, head.block_count, step):
        blocks = range(first, min(first + step, head.block_count))
        origin, end = head.raw_range(blocks[0])[0], head.raw_range(blocks[-1])[1]
        with buffers.lease(end - origin) as window:
            for block in blocks:
                start, stop = head.raw_range(block)
                base = _base_of(head, block, read_base)
                packed = frame[slice(*head.block_range(block))]
                codec.decode_block(
                    head, block, packed, base, window[start - origin : stop - origin]
                )
            yield window


def _base_of(head: codec.FrameHead, block: int, read_base: Read | None) -> memoryview:
    start, stop = head.base_range(block)
    if start == stop or read_base is None:
        return memoryview(b"")  # the codec tells whether that is too little
    return read_base(start, stop)
