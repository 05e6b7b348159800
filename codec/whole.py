"""Whole contents in memory: a frame from a buffer, and a buffer or a part of it from a frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self

import numpy as np

from codec.buffers import Buffer, Bytes, Source, byte_view, read_range, writable_view
from codec.choice.pairing import sparse_tables_for, tables_for
from codec.choice.prediction import foretell
from codec.choice.ranks import choose_factors
from codec.choice.sparse_price import quicker
from codec.elements.casts import narrow_dtype
from codec.elements.words import Words
from codec.errors import BaseMismatch, CorruptFrame
from codec.frames.assembly import Assembly
from codec.frames.coder import FrameEncoder, decode_block, method_of
from codec.frames.head import FIXED_NBYTES, HAS_TABLES, NEEDS_BASE, FrameHead, FrameInfo, Method
from codec.lowrank.factors import Factors
from codec.lowrank.shift import MovedBase
from codec.spread import spread

_CLOSE = 1.02
"""Codecs predicted within this factor of the best are all tried: the sample does not decide."""
_SPARSE = 1 / 24
_CLOSE_IF_SPARSE = 2.0
"""A sample sees too little of a tensor that shrinks below this share; trying is quick there."""
_CLOSE_IF_COUNTED = 1.015
"""Where all changes were counted, only what other codecs make of them is still a guess."""


def encode(
    target: Buffer,
    *,
    dtype: str,
    base: Buffer | None = None,
    base_dtype: str | None = None,
    codec: str = "auto",
    level: Literal["default", "best"] = "default",
    columns: int = 0,
    factors: Factors | None = None,
    threads: int = 1,
) -> bytes:
    """One frame that decodes to exactly ``target``, never larger than RAW with its head.

    ``codec`` is RAW, ZSTD, PLANE, BITX, CTX, SPARSE or "auto": what the sample predicts to be
    smallest, or, where that is close or ``level`` is "best", the smallest of several tried.
    ``base`` may be of another length; elements beyond it are coded alone. It may be of another
    dtype among BF16, F16 and F32, ``base_dtype``, and is cast then. ``columns`` says that the
    content is a matrix with rows of so many words: a product of low rank is added to the base then
    where that pays, or that of the ``factors`` given. F32 of which every word is one of BF16 or F16
    cast up is coded as that. Raises ValueError for an unknown name, for BITX, CTX and SPARSE
    without a base, for a base that cannot be cast, for factors that do not fit, and for CTX with a
    dtype that is no float of 8 to 32 bits.
    """
    view = byte_view(target)
    if level not in ("default", "best"):
        raise ValueError(f"unknown level {level!r}")
    below = None if base is None else base_dtype or dtype
    words = Words.named(dtype, narrow_dtype(view, dtype=dtype), below)
    if codec != "auto" and base is None and method_of(codec) in NEEDS_BASE:
        raise ValueError(f"codec {codec} needs a base")
    pair = _Pair.of(view, words, None if base is None else byte_view(base), columns, factors)
    if codec != "auto":
        return _encode_as(codec, pair, threads)
    prediction, tables = foretell(view, dtype=dtype, base=pair.moved, base_dtype=pair.moved_dtype)
    prediction = prediction.with_factors(pair.factors)
    close = _CLOSE if prediction.nbytes > view.size * _SPARSE else _CLOSE_IF_SPARSE
    if tables:
        close = _CLOSE_IF_COUNTED
    limit = prediction.nbytes * (close if level == "default" else float("inf"))
    quick = None
    if pair.factors is not None and prediction.codec == "SPARSE":
        quick = quicker(prediction.nbytes, prediction.estimates["CTX"])
    frames = {
        name: _encode_as(name, pair, threads, tables)
        for name, nbytes in prediction.estimates.items()
        if nbytes <= limit or name == quick
    }
    return frames[quick] if quick and level == "default" else min(frames.values(), key=len)


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

    spread(work, range(head.block_count), threads)
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

    spread(work, blocks, threads)
    return target[start - origin : stop - origin].tobytes()


def inspect(frame: Buffer) -> FrameInfo:
    """What a frame says about itself; its head is enough. CorruptFrame if that is unsound."""
    return FrameHead.parse(frame).info


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A content, its base, and what a product of low rank makes of the base."""

    target: Bytes
    words: Words
    base: Bytes | None
    factors: Factors | None
    moved: Bytes | None
    moved_words: Words

    @classmethod
    def of(
        cls,
        target: Bytes,
        words: Words,
        base: Bytes | None,
        columns: int,
        factors: Factors | None,
    ) -> Self:
        if base is not None and columns and factors is None:
            shape = {"raw_nbytes": target.size, "base_nbytes": base.size}
            factors = choose_factors(target, base, words=words, columns=columns, **shape)
        if base is None or factors is None:
            return cls(target, words, base, None, base, words)
        factors.check(target.size // words.content_width)
        moved = MovedBase(base, base.size, words, factors)
        return cls(target, words, base, factors, moved.read(0, moved.nbytes), moved.words)

    @property
    def moved_dtype(self) -> str | None:
        """That of the base after it has moved."""
        return None if self.moved_words.base is None else self.moved_words.base.name


def _encode_as(
    codec: str,
    pair: _Pair,
    threads: int,
    known: Mapping[Method, bytes] = MappingProxyType({}),
) -> bytes:
    """A frame in one codec; ``known`` are tables made before."""
    method = method_of(codec)
    tables, target, base, words = known.get(method, b""), pair.target, pair.base, pair.words
    if pair.moved is not None and target.size and not tables and method in HAS_TABLES:
        if method is Method.SPARSE:
            tables = sparse_tables_for(target, pair.moved, words=pair.moved_words)
        else:
            shape = {"raw_nbytes": target.size, "base_nbytes": pair.moved.size}
            tables = tables_for(target, pair.moved, words=pair.moved_words, **shape)
    encoder = FrameEncoder(
        dtype=words.content.name,
        raw_nbytes=target.size,
        codec=codec,
        base_nbytes=None if base is None else base.size,
        base_dtype=None if words.base is None else words.base.name,
        narrow=words.coded.name if words.is_narrow else None,
        tables=tables,
        factors=pair.factors if method in NEEDS_BASE else None,
    )
    frame = Assembly(encoder.head_nbytes, target.size)

    def work(index: int) -> None:
        start, stop = encoder.raw_range(index)
        first, last = encoder.base_range(index)
        part = None if base is None else base[first:last]
        frame.put(index, encoder.encode_block(index, target[start:stop], part))

    spread(work, range(encoder.block_count), threads)
    return frame.finish(encoder.finish())


def _base_reader(head: FrameHead, base: Source | None) -> Callable[[int], Bytes | None]:
    """How to get the base of a block; BaseMismatch at once if the base has the wrong length."""
    if base is None or head.base_nbytes is None:
        return lambda _index: None
    if callable(base):
        return lambda index: read_range(base, *head.base_range(index))
    whole = byte_view(base)
    if whole.size != head.base_nbytes:
        raise BaseMismatch(f"the base had {head.base_nbytes} bytes, this one has {whole.size}")
    return lambda index: whole[slice(*head.base_range(index))]


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
