"""Whole contents in memory: a frame from a buffer, and a buffer or a part of it from a frame."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from codec.buffers import Buffer, Bytes, Source, byte_view, read_range, writable_view
from codec.coder import FrameEncoder, decode_block, method_of
from codec.errors import BaseMismatch, CorruptFrame
from codec.frame import BLOCK_NBYTES, FIXED_NBYTES, NEEDS_BASE, FrameHead, FrameInfo, Method
from codec.prediction import predict
from codec.training import train, training_ranges

_CLOSE = 1.02
"""Codecs predicted within this factor of the best are all tried: the sample does not decide."""
_SPARSE = 1 / 24
_CLOSE_IF_SPARSE = 2.0
"""A sample sees too little of a tensor that shrinks below this share; trying is quick there."""


def encode(
    target: Buffer,
    *,
    dtype: str,
    base: Buffer | None = None,
    codec: str = "auto",
    level: Literal["default", "best"] = "default",
    threads: int = 1,
) -> bytes:
    """One frame that decodes to exactly ``target``, never larger than RAW with its head.

    ``codec`` is RAW, ZSTD, PLANE, BITX, CTX or "auto": what the sample predicts to be smallest, or,
    where that is close or ``level`` is "best", the smallest of several tried. ``base`` may be of
    another length; bytes beyond it are coded alone. Raises ValueError for an unknown name, for
    BITX and CTX without a base, and for CTX with a dtype other than BF16, F16, F32 and C64.
    """
    view = byte_view(target)
    reference = None if base is None else byte_view(base)
    if level not in ("default", "best"):
        raise ValueError(f"unknown level {level!r}")
    if codec != "auto":
        if reference is None and method_of(codec) in NEEDS_BASE:
            raise ValueError(f"codec {codec} needs a base")
        return _encode_as(codec, view, dtype, reference, threads)
    estimates = predict(view, dtype=dtype, base=reference).estimates
    best = min(estimates.values())
    close = _CLOSE if best > view.size * _SPARSE else _CLOSE_IF_SPARSE
    limit = best * (close if level == "default" else float("inf"))
    frames = [
        _encode_as(name, view, dtype, reference, threads)
        for name, nbytes in estimates.items()
        if nbytes <= limit
    ]
    return min(frames, key=len)


def decode(
    frame: Buffer, *, base: Source | None = None, out: Buffer | None = None, threads: int = 1
) -> memoryview:
    """The exact bytes that were encoded, in ``out`` if given (which must be of their length).

    ``base`` is the buffer the frame was made with, or a ``read(start, stop)`` over it. Raises
    CorruptFrame if the frame is not whole and sound, BaseMismatch if the base is not the right
    one, ValueError if ``out`` has another length.
    """
    view = byte_view(frame)
    head = FrameHead.parse(view)
    if head.stored_nbytes != view.size:
        raise CorruptFrame(f"the frame takes {head.stored_nbytes} bytes, here are {view.size}")
    read_base = _base_reader(head, base)
    target = (
        np.empty(head.raw_nbytes, np.uint8) if out is None else writable_view(out, head.raw_nbytes)
    )

    def work(index: int) -> None:
        first, last = head.block_range(index)
        start, stop = head.raw_range(index)
        decode_block(head, index, view[first:last], read_base(index), target[start:stop])

    _spread(work, range(head.block_count), threads)
    return target.data


def decode_range(
    frame: Source, start: int, stop: int, *, base: Source | None = None, threads: int = 1
) -> bytes:
    """Bytes ``start:stop`` of the content; only the blocks that hold them are read and decoded.

    ``frame`` and ``base`` may each be a buffer or a ``read(start, stop)`` that returns exactly
    those bytes of it. Raises ValueError if the range is outside the content, otherwise as
    :func:`decode`.
    """
    head = _read_head(frame)
    blocks = head.blocks_for(start, stop)
    if not blocks:
        return b""
    read_base = _base_reader(head, base)
    origin = head.raw_range(blocks[0])[0]
    target = np.empty(head.raw_range(blocks[-1])[1] - origin, np.uint8)
    span = head.block_range(blocks[0])[0], head.block_range(blocks[-1])[1]
    stored = _read_exactly(frame, *span)

    def work(index: int) -> None:
        first, last = (offset - span[0] for offset in head.block_range(index))
        begin, end = (offset - origin for offset in head.raw_range(index))
        decode_block(head, index, stored[first:last], read_base(index), target[begin:end])

    _spread(work, blocks, threads)
    return target[start - origin : stop - origin].tobytes()


def inspect(frame: Buffer) -> FrameInfo:
    """What a frame says about itself; its head is enough. CorruptFrame if that is unsound."""
    return FrameHead.parse(frame).info


def _encode_as(codec: str, target: Bytes, dtype: str, base: Bytes | None, threads: int) -> bytes:
    tables = b""
    if base is not None and target.size and method_of(codec) is Method.CTX:
        pairs = _training_pairs(target, base, dtype)
        tables = train(pairs, dtype=dtype, raw_nbytes=min(target.size, base.size))
    encoder = FrameEncoder(
        dtype=dtype,
        raw_nbytes=target.size,
        codec=codec,
        base_nbytes=None if base is None else base.size,
        tables=tables,
    )
    blocks: list[bytes] = [b""] * encoder.block_count

    def work(index: int) -> None:
        start, stop = encoder.raw_range(index)
        first, last = encoder.base_range(index)
        part = None if base is None else base[first:last]
        blocks[index] = encoder.encode_block(index, target[start:stop], part)

    _spread(work, range(encoder.block_count), threads)
    return b"".join([encoder.finish(), *blocks])


def _training_pairs(target: Bytes, base: Bytes, dtype: str) -> Iterator[tuple[Bytes, Bytes]]:
    """Samples of the common part, and of what is coded against zeros behind the base's end."""
    common = min(target.size, base.size)
    for start, stop in training_ranges(common, dtype=dtype):
        yield target[start:stop], base[start:stop]
    beyond = target[common : min(target.size, -(-common // BLOCK_NBYTES) * BLOCK_NBYTES)]
    if beyond.size:
        yield beyond, np.zeros(beyond.size, np.uint8)


def _spread(work: Callable[[int], Any], indexes: Iterable[int], threads: int) -> None:
    """Call ``work`` for every index, on up to ``threads`` threads; the first error is raised."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    indexes = list(indexes)
    if threads == 1 or len(indexes) < 2:
        for index in indexes:
            work(index)
        return
    with ThreadPoolExecutor(min(threads, len(indexes))) as pool:
        for _ in pool.map(work, indexes):
            pass


def _base_reader(head: FrameHead, base: Source | None) -> Callable[[int], Bytes | None]:
    """How to get the base of a block; BaseMismatch at once if the base has the wrong length."""
    if base is None or head.base_nbytes is None:
        return lambda _index: None
    if not callable(base) and byte_view(base).size != head.base_nbytes:
        raise BaseMismatch(
            f"the base had {head.base_nbytes} bytes, this one has {byte_view(base).size}"
        )
    return lambda index: read_range(base, *head.base_range(index))


def _read_head(frame: Source) -> FrameHead:
    """The head of a frame, of which no more is read than that."""
    if not callable(frame):
        return FrameHead.parse(frame)
    head_nbytes = FrameHead.measure(_read_exactly(frame, 0, FIXED_NBYTES))
    return FrameHead.parse(_read_exactly(frame, 0, head_nbytes))


def _read_exactly(source: Source, start: int, stop: int) -> Bytes:
    part = read_range(source, start, stop)
    if part.size != stop - start:
        raise CorruptFrame(f"bytes {start}:{stop} of the frame are not all here")
    return part
