"""The head of a frame: what it says, how it is written, and every check before it is believed.

The format is described in ``docs/formats/frame.md``; this module and that page change together.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Buffer, Bytes, byte_view, checksum
from codec.elements.dtypes import DType, layout_of
from codec.elements.words import NARROW, Words, is_castable
from codec.errors import CorruptFrame, UnsupportedFrame
from codec.limits import (
    BLOCK_LOG2,
    MAX_BLOCK_LOG2,
    MAX_BLOCKS,
    MAX_FACTORS_NBYTES,
    MAX_RAW_NBYTES,
    MAX_TABLES_NBYTES,
    MIN_BLOCK_LOG2,
)
from codec.lowrank.factors import Factors
from codec.lowrank.shift import SHIFTED

MAGIC: Final = b"CLDF"
VERSION: Final = 1
FIXED_NBYTES: Final = 40
CHECK_NBYTES: Final = 8

_FIXED = struct.Struct("<4sBBBBQQBBBBIII")
_HAS_BASE = 1
_HAS_FACTORS = 2
_ENTRY = np.dtype(
    [("stored", "<u4"), ("method", "u1"), ("zero", "u1", 3), ("check", "<u8"), ("raw", "<u8")]
)


class Method(IntEnum):
    """How a block is coded, and as the codec of a frame the best method its blocks may use."""

    RAW = 0
    ZSTD = 1
    PLANE = 2
    BITX = 3
    CTX = 4
    SPARSE = 5
    CTX16 = 6

    @property
    def label(self) -> str:
        """The public name: which of two alphabets CTX has is told by the width of its words."""
        return "CTX" if self is Method.CTX16 else self.name


DECODABLE: Final = frozenset(Method)
"""What this version decodes."""
IN_CONTEXTS: Final = frozenset({Method.CTX, Method.CTX16})
NEEDS_BASE: Final = IN_CONTEXTS | {Method.BITX, Method.SPARSE}
_METHODS: Final = tuple(Method)
_READS_BASE: Final = tuple(method in NEEDS_BASE for method in Method)
HAS_TABLES: Final = IN_CONTEXTS | {Method.SPARSE}
"""Codecs whose blocks share tables in the head."""


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """One line of the block index: what a block became, and the xxh3-64 of its two forms."""

    stored_nbytes: int
    method: Method
    stored_check: int
    raw_check: int


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What a frame says about itself.

    ``base_nbytes`` and ``base_dtype`` are None for a frame that needs no base, ``narrow`` for one
    whose words are coded in their own dtype. ``rank`` is that of a product added to the base.
    """

    codec: str
    dtype: str
    raw_nbytes: int
    stored_nbytes: int
    head_nbytes: int
    base_nbytes: int | None
    block_nbytes: int
    blocks: int
    methods: dict[str, int]
    base_dtype: str | None = None
    narrow: str | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameHead:
    """A verified head: the shape of the content and where each of its blocks is stored.

    Offsets of stored bytes count from the start of the frame, offsets of raw bytes from the start
    of the content.
    """

    codec: Method
    words: Words
    raw_nbytes: int
    base_nbytes: int | None
    block_log2: int
    factors: Factors | None
    tables: bytes
    index: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def measure(cls, fixed: Buffer) -> int:
        """Length of the whole head, told by its first ``FIXED_NBYTES`` bytes.

        Raises CorruptFrame if these are not the start of a frame, UnsupportedFrame if they are
        that of a version or codec this library does not decode.
        """
        return _head_nbytes(*_Fixed.parse(byte_view(fixed)).lengths)

    @classmethod
    def parse(cls, prefix: Buffer) -> Self:
        """The head at the start of ``prefix``, which holds all of it and perhaps more.

        Raises CorruptFrame if the head is short, fails its check or contradicts itself.
        """
        view = byte_view(prefix)
        fixed = _Fixed.parse(view)
        end = _head_nbytes(*fixed.lengths)
        if view.size < end:
            raise CorruptFrame(f"the head takes {end} bytes, only {view.size} are here")
        body = end - CHECK_NBYTES
        if checksum(view[:body]) != int.from_bytes(view[body:end].tobytes(), "little"):
            raise CorruptFrame("the head fails its checksum")
        tables_end = FIXED_NBYTES + fixed.tables_nbytes
        index = np.frombuffer(view[tables_end:body].tobytes(), _ENTRY)
        _check_index(index, fixed)
        factors, tables = None, view[FIXED_NBYTES:tables_end]
        if fixed.has_factors:
            factors = Factors.parse(tables, fixed.raw_nbytes // fixed.words.content_width)
            tables = tables[len(factors.stored) :]
            if tables.size > (MAX_TABLES_NBYTES if fixed.codec in HAS_TABLES else 0):
                raise CorruptFrame("bytes behind the factors that are no tables")
        offsets = np.empty(index.size + 1, np.int64)
        offsets[0] = end
        np.cumsum(index["stored"], out=offsets[1:], dtype=np.int64)
        offsets[1:] += end
        return cls(
            codec=fixed.codec,
            words=fixed.words,
            raw_nbytes=fixed.raw_nbytes,
            base_nbytes=fixed.base_nbytes,
            block_log2=fixed.block_log2,
            factors=factors,
            tables=tables.tobytes(),
            index=index,
            offsets=offsets,
        )

    @property
    def dtype(self) -> DType:
        """That of the content."""
        return self.words.content

    @property
    def head_nbytes(self) -> int:
        """Length of the head, where the first block begins."""
        return int(self.offsets[0])

    @property
    def stored_nbytes(self) -> int:
        """Length of the whole frame."""
        return int(self.offsets[-1])

    @property
    def block_count(self) -> int:
        """Number of blocks; an empty content has none."""
        return self.index.size

    @property
    def info(self) -> FrameInfo:
        """The public description of the frame."""
        counts = np.bincount(self.index["method"], minlength=len(Method))
        return FrameInfo(
            codec=self.codec.label,
            dtype=self.dtype.name,
            raw_nbytes=self.raw_nbytes,
            stored_nbytes=self.stored_nbytes,
            head_nbytes=self.head_nbytes,
            base_nbytes=self.base_nbytes,
            block_nbytes=1 << self.block_log2,
            blocks=self.block_count,
            methods={method.label: int(counts[method]) for method in Method if counts[method]},
            base_dtype=None if self.words.base is None else self.words.base.name,
            narrow=self.words.coded.name if self.words.is_narrow else None,
            rank=0 if self.factors is None else self.factors.shape.rank,
        )

    def block(self, index: int) -> BlockInfo:
        """The index line of a block."""
        stored, method, _, check, raw = self.index[index].item()
        return BlockInfo(stored, _METHODS[method], check, raw)

    def block_range(self, index: int) -> tuple[int, int]:
        """Where the stored bytes of a block are in the frame."""
        return int(self.offsets[index]), int(self.offsets[index + 1])

    def raw_range(self, index: int) -> tuple[int, int]:
        """Which bytes of the content a block decodes to."""
        start = index << self.block_log2
        return start, min(start + (1 << self.block_log2), self.raw_nbytes)

    def base_range(self, index: int) -> tuple[int, int]:
        """Which bytes of the base a block needs for decoding; an empty range if none."""
        if self.base_nbytes is None or not _READS_BASE[self.index["method"][index]]:
            return 0, 0
        return self.words.base_span(*self.raw_range(index), self.base_nbytes)

    def blocks_for(self, start: int, stop: int) -> range:
        """The blocks that hold bytes ``start:stop`` of the content; ValueError if outside it."""
        if not 0 <= start <= stop <= self.raw_nbytes:
            raise ValueError(f"range {start}:{stop} is outside the {self.raw_nbytes} raw bytes")
        if start == stop:
            return range(0)
        return range(start >> self.block_log2, ((stop - 1) >> self.block_log2) + 1)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The fixed part of a head, each field within its limits."""

    codec: Method
    words: Words
    raw_nbytes: int
    base_nbytes: int | None
    block_log2: int
    tables_nbytes: int
    block_count: int
    has_factors: bool

    @property
    def lengths(self) -> tuple[int, int]:
        return self.tables_nbytes, self.block_count

    @classmethod
    def parse(cls, view: NDArray[np.uint8]) -> Self:
        if view.size < FIXED_NBYTES:
            raise CorruptFrame(f"a frame has at least {FIXED_NBYTES} bytes, here are {view.size}")
        fields = _FIXED.unpack(view[:FIXED_NBYTES].tobytes())
        magic, version, codec_id, dtype_id, flags, raw_nbytes, base_nbytes = fields[:7]
        block_log2, base_dtype_id, narrow_id, zero, tables_nbytes, block_count, check = fields[7:]
        if magic != MAGIC:
            raise CorruptFrame("not a frame: wrong magic")
        if version != VERSION:
            raise UnsupportedFrame(f"frame version {version}, this library reads {VERSION}")
        if _fixed_check(view[: FIXED_NBYTES - 4]) != check:
            raise CorruptFrame("the fixed part of the head fails its checksum")
        if codec_id not in DECODABLE:
            raise UnsupportedFrame(f"codec id {codec_id} cannot be decoded by this version")
        codec = Method(codec_id)
        has_base, has_factors = codec in NEEDS_BASE, bool(flags & _HAS_FACTORS)
        if flags & ~_HAS_FACTORS != (_HAS_BASE if has_base else 0) or zero:
            raise CorruptFrame("flags do not fit the codec")
        words = _words_of(dtype_id, narrow_id, base_dtype_id, has_base=has_base)
        if has_factors and not (has_base and words.coded in SHIFTED):
            raise CorruptFrame(f"a delta of {words.coded.name} has no factors")
        base = base_nbytes if has_base else None
        lengths = tables_nbytes, block_count
        fixed = cls(codec, words, raw_nbytes, base, block_log2, *lengths, has_factors)
        fixed._check_limits(base_nbytes)
        return fixed

    def _check_limits(self, base_nbytes: int) -> None:
        if self.raw_nbytes > MAX_RAW_NBYTES:
            raise CorruptFrame(f"{self.raw_nbytes} raw bytes are beyond the limit of the format")
        if base_nbytes > (0 if self.base_nbytes is None else MAX_RAW_NBYTES):
            raise CorruptFrame(f"a base of {base_nbytes} bytes does not fit the frame")
        if not MIN_BLOCK_LOG2 <= self.block_log2 <= MAX_BLOCK_LOG2:
            raise CorruptFrame(f"block length 2^{self.block_log2} is beyond the limits")
        if self.block_count != -(-self.raw_nbytes >> self.block_log2):
            raise CorruptFrame("the number of blocks does not fit the raw length")
        if self.block_count > MAX_BLOCKS:
            raise CorruptFrame(f"{self.block_count} blocks are beyond the limit of the format")
        if self.codec in IN_CONTEXTS and not self.words.layout.exponent:
            raise CorruptFrame(f"codec CTX does not code {self.words.coded.name}")
        if self.codec is Method.CTX16 and self.words.layout.in_contexts.width != 2:
            raise CorruptFrame(f"codec CTX16 does not code {self.words.coded.name}")
        if self.words.is_narrow and self.raw_nbytes % layout_of(self.words.content).width:
            raise CorruptFrame("a narrow content is not a whole number of words")
        most = MAX_TABLES_NBYTES if self.codec in HAS_TABLES else 0
        if self.has_factors:
            most += min(self.raw_nbytes, MAX_FACTORS_NBYTES)
        if self.tables_nbytes > most:
            raise CorruptFrame(f"codec {self.codec.name} has no tables of that length")


def build_head(
    codec: Method,
    words: Words,
    raw_nbytes: int,
    base_nbytes: int | None,
    block_log2: int,
    blocks: list[BlockInfo],
    tables: bytes = b"",
    factors: Factors | None = None,
) -> bytes:
    """The head of a frame with these blocks; the inverse of :meth:`FrameHead.parse`."""
    flags = _HAS_BASE if codec in NEEDS_BASE else 0
    if factors is not None:
        flags, tables = flags | _HAS_FACTORS, factors.stored + tables
    fixed = _FIXED.pack(
        *(MAGIC, VERSION, codec, words.content, flags),
        *(raw_nbytes, base_nbytes or 0, block_log2, words.base or 0),
        *(words.coded if words.is_narrow else 0, 0, len(tables), len(blocks), 0),
    )[:-4]
    index = np.zeros(len(blocks), _ENTRY)
    for entry, block in zip(index, blocks, strict=True):
        entry["stored"], entry["method"] = block.stored_nbytes, block.method
        entry["check"], entry["raw"] = block.stored_check, block.raw_check
    fixed += _fixed_check(byte_view(fixed)).to_bytes(4, "little")
    body = fixed + tables + index.tobytes()
    return body + checksum(byte_view(body)).to_bytes(CHECK_NBYTES, "little")


def _words_of(dtype_id: int, narrow_id: int, base_dtype_id: int, *, has_base: bool) -> Words:
    """The dtypes of content, coded words and base, each known and fitting the others."""
    known = DType.__members__.values()
    if dtype_id not in known:
        raise CorruptFrame(f"unknown dtype id {dtype_id}")
    dtype = coded = DType(dtype_id)
    if narrow_id:
        if dtype is not DType.F32 or narrow_id not in NARROW:
            raise UnsupportedFrame(f"words of dtype id {narrow_id} do not make {dtype.name}")
        coded = DType(narrow_id)
    if not has_base:
        if base_dtype_id:
            raise CorruptFrame("a base dtype without a base")
        return Words(dtype, coded, None)
    if base_dtype_id not in known or not is_castable(DType(base_dtype_id), coded):
        raise UnsupportedFrame(f"a base of dtype id {base_dtype_id} does not serve {coded.name}")
    return Words(dtype, coded, DType(base_dtype_id))


def head_nbytes(raw_nbytes: int, block_log2: int = BLOCK_LOG2, tables_nbytes: int = 0) -> int:
    """Length of the head of a content, known before any block is encoded."""
    return _head_nbytes(tables_nbytes, -(-raw_nbytes >> block_log2))


def _head_nbytes(tables_nbytes: int, block_count: int) -> int:
    return FIXED_NBYTES + tables_nbytes + block_count * _ENTRY.itemsize + CHECK_NBYTES


def _fixed_check(fixed: Bytes) -> int:
    return checksum(fixed) & 0xFFFFFFFF


def _check_index(index: NDArray[Any], fixed: _Fixed) -> None:
    """Every stored length within the coded length, every method known and allowed."""
    if not index.size:
        return
    room = np.full(index.size, fixed.words.coded_nbytes(1 << fixed.block_log2), np.uint32)
    last = fixed.raw_nbytes - ((index.size - 1) << fixed.block_log2)
    room[-1] = fixed.words.coded_nbytes(last)
    is_raw = index["method"] == Method.RAW
    if np.any(index["stored"] > room) or np.any((index["stored"] == room) != is_raw):
        raise CorruptFrame("a stored length does not fit its block")
    if np.any(index["zero"]):
        raise CorruptFrame("reserved bytes of the block index are not zero")
    allowed = {Method.RAW, Method.ZSTD, Method.PLANE, fixed.codec}
    if fixed.base_nbytes is not None:
        allowed.add(Method.BITX)
    if not np.isin(index["method"], list(allowed)).all():
        raise CorruptFrame("a block uses a method that the frame does not allow")
