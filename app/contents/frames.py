"""Frames as a reader meets them: heads kept at hand, blocks picked out and decoded."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from app.contents.refs import RAW, EncodingRef
from app.digest import PIECE_BYTES
from codec import FIXED_NBYTES, CodecError, FrameHead, decode_block

HEADS_NBYTES = 32 << 20
"""Memory for heads: the index of a tensor of 1 GiB takes some 32 KiB."""

_HEAD_OVERHEAD_NBYTES = 1 << 10
_BLOCK_OVERHEAD_NBYTES = 32


class BadFrame(Exception):
    """Stored bytes that passed their checks are not a frame of the content they stand for."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive blocks of a frame and the base bytes that decoding them needs."""

    blocks: range
    stored: tuple[int, int]
    """Range in the frame."""
    base: tuple[int, int]
    """Range in the base's raw bytes; empty if none are needed."""


class HeadCache:
    """Heads by place, least recently used first out. Thread-safe.

    A place is never written twice, so nothing here can be out of date.
    """

    def __init__(self, nbytes: int) -> None:
        self._room = nbytes
        self._lock = threading.Lock()
        self._heads: OrderedDict[tuple[str, int], FrameHead] = OrderedDict()

    def get(self, place: tuple[str, int]) -> FrameHead | None:
        """The head of the frame at (key, start), if it is at hand."""
        with self._lock:
            head = self._heads.get(place)
            if head is not None:
                self._heads.move_to_end(place)
            return head

    def put(self, place: tuple[str, int], head: FrameHead) -> None:
        """Keep a head, dropping the ones longest unused."""
        with self._lock:
            if place in self._heads:
                return
            self._heads[place] = head
            self._room -= _head_nbytes(head)
            while self._room < 0:
                _, oldest = self._heads.popitem(last=False)
                self._room += _head_nbytes(oldest)


_heads = HeadCache(HEADS_NBYTES)


def head_of(ref: EncodingRef, read: Callable[[int, int], memoryview]) -> FrameHead:
    """The head of an encoding's frame; ``read`` gives verified stored bytes.

    Raises :class:`BadFrame` if there is no such frame.
    """
    place = (ref.key, ref.start)
    head = _heads.get(place)
    if head is None:
        prefix = read(0, min(PIECE_BYTES, ref.stored_nbytes))
        with _frame_errors():
            nbytes = FrameHead.measure(prefix[:FIXED_NBYTES])
        if nbytes > len(prefix):
            prefix = read(0, min(nbytes, ref.stored_nbytes))
        head = _parse(ref, prefix)
        _heads.put(place, head)
    return head


def span_of(head: FrameHead, start: int, stop: int) -> Span:
    """What has to be read to get raw bytes ``[start, stop)``, at least one byte."""
    blocks = head.blocks_for(start, stop)
    bases = [base for base in map(head.base_range, blocks) if base[0] < base[1]]
    return Span(
        blocks=blocks,
        stored=(head.block_range(blocks[0])[0], head.block_range(blocks[-1])[1]),
        base=(bases[0][0], bases[-1][1]) if bases else (0, 0),
    )


def decode_span(
    head: FrameHead, span: Span, stored: memoryview, base: memoryview | None
) -> memoryview:
    """Raw bytes of the span's blocks. ``stored`` and ``base`` hold its ranges of frame and base.

    Raises :class:`BadFrame` when a block is not what the head says.
    """
    origin = head.raw_range(span.blocks[0])[0]
    out = np.empty(head.raw_range(span.blocks[-1])[1] - origin, np.uint8).data
    with _frame_errors():
        for block in span.blocks:
            first, last = (offset - span.stored[0] for offset in head.block_range(block))
            start, stop = (offset - origin for offset in head.raw_range(block))
            lower, upper = (offset - span.base[0] for offset in head.base_range(block))
            below = b"" if base is None or lower == upper else base[lower:upper]
            decode_block(head, block, stored[first:last], below, out[start:stop])
    return out


def cut(head: FrameHead, span: Span, data: memoryview, start: int, stop: int) -> memoryview:
    """Raw bytes ``[start, stop)`` of the content out of the raw bytes of a span that holds them."""
    origin = head.raw_range(span.blocks[0])[0]
    return data[start - origin : stop - origin]


def unpack(ref: EncodingRef, stored: memoryview, base: memoryview | None = None) -> memoryview:
    """Raw bytes of a whole content out of all its stored bytes, and its base's raw bytes."""
    if ref.codec == RAW:
        return stored
    head = _heads.get((ref.key, ref.start)) or _parse(ref, stored)
    if ref.nbytes == 0:
        return memoryview(b"")
    span = span_of(head, 0, ref.nbytes)
    below = None if base is None else base[span.base[0] : span.base[1]]
    return decode_span(head, span, stored[span.stored[0] :], below)


def _parse(ref: EncodingRef, prefix: memoryview) -> FrameHead:
    with _frame_errors():
        head = FrameHead.parse(prefix)
    base_nbytes = None if ref.base is None else ref.base.nbytes
    if (head.raw_nbytes, head.stored_nbytes) != (ref.nbytes, ref.stored_nbytes):
        raise BadFrame("the frame has other lengths than the database says")
    if head.base_nbytes is not None and head.base_nbytes != base_nbytes:
        raise BadFrame("the frame needs another base than the database names")
    return head


@contextmanager
def _frame_errors() -> Iterator[None]:
    """Turn the codec's errors into :class:`BadFrame`."""
    try:
        yield
    except CodecError as error:
        raise BadFrame(str(error)) from error


def _head_nbytes(head: FrameHead) -> int:
    tables_nbytes = len(head.tables) + (head.factors.held_nbytes if head.factors else 0)
    return _HEAD_OVERHEAD_NBYTES + tables_nbytes + head.block_count * _BLOCK_OVERHEAD_NBYTES
