"""Block by block: encode a content that is never whole in memory, decode any part of one."""

import numpy as np

from codec.buffers import Buffer, Bytes, byte_view, checksum, writable_view
from codec.context.alphabet import written
from codec.context.block import code_tables
from codec.elements.casts import cast, narrowed
from codec.elements.words import Words
from codec.errors import BaseMismatch, CorruptFrame
from codec.frames.blocks import pack_block, unpack_block
from codec.frames.head import (
    HAS_TABLES,
    NEEDS_BASE,
    BlockInfo,
    FrameHead,
    Method,
    build_head,
    head_nbytes,
)
from codec.limits import (
    BLOCK_LOG2,
    MAX_BLOCK_LOG2,
    MAX_FACTORS_NBYTES,
    MAX_RAW_NBYTES,
    MIN_BLOCK_LOG2,
)
from codec.lowrank.factors import Factors
from codec.lowrank.shift import SHIFTED, moved_base
from codec.scratch import SCRATCH
from codec.sparse.tables import loaded_tables


class FrameEncoder:
    """Makes one frame: blocks in any order and from any thread, then the head that precedes them.

    ``codec`` is RAW, ZSTD, PLANE, BITX, CTX or SPARSE. The last three need a base, of
    ``base_nbytes`` bytes and ``base_dtype`` (as many elements as the content, and its dtype, if not
    given): block i reads the same elements of it as of the content, or what there is of them. The
    last two need ``tables`` as well, from :func:`codec.train` or :func:`codec.train_sparse`.
    ``narrow`` names the dtype whose words, cast up, all words of the content are (see
    :func:`codec.narrow_dtype`); they are coded as those. ``factors`` are those of a product that is
    added to the base, from :func:`codec.choose_factors`. Raises ValueError for arguments that make
    no frame, CorruptFrame for bytes that are no tables.
    """

    def __init__(
        self,
        *,
        dtype: str,
        raw_nbytes: int,
        codec: str,
        base_nbytes: int | None = None,
        base_dtype: str | None = None,
        narrow: str | None = None,
        block_log2: int = BLOCK_LOG2,
        tables: bytes = b"",
        factors: Factors | None = None,
    ) -> None:
        if not 0 <= raw_nbytes <= MAX_RAW_NBYTES:
            raise ValueError(f"a frame holds up to {MAX_RAW_NBYTES} bytes, not {raw_nbytes}")
        if not MIN_BLOCK_LOG2 <= block_log2 <= MAX_BLOCK_LOG2:
            raise ValueError(f"blocks of 2^{block_log2} bytes are beyond the limits of the format")
        self.codec = method_of(codec)
        self.raw_nbytes = raw_nbytes
        has_base = self.codec in NEEDS_BASE
        self.words = Words.named(dtype, narrow, (base_dtype or dtype) if has_base else None)
        self.base_nbytes = None
        if has_base:
            whole = self.words.base_span(0, raw_nbytes, MAX_RAW_NBYTES)[1]
            self.base_nbytes = whole if base_nbytes is None else base_nbytes
        layout = self.words.layout
        if self.codec is Method.CTX and written(layout).has_signs:
            self.codec = Method.CTX16
        if bool(tables) != (self.codec in HAS_TABLES and raw_nbytes > 0):
            raise ValueError("CTX and SPARSE need tables, and no other codec has any")
        if self.words.is_narrow and raw_nbytes % 4:
            raise ValueError("a narrow content is a whole number of words")
        if self.codec is Method.SPARSE and tables:
            loaded_tables(tables, layout.width)
        elif tables:
            if not layout.exponent:
                raise ValueError(f"CTX does not code {dtype}")
            code_tables(tables, written(layout))
        if factors is not None:
            _check_factors(factors, self.codec, self.words, raw_nbytes)
        self.factors = factors
        self._tables = tables
        self._block_log2 = block_log2
        self._blocks: list[BlockInfo | None] = [None] * -(-raw_nbytes >> block_log2)

    @property
    def block_count(self) -> int:
        """How many blocks the content has."""
        return len(self._blocks)

    @property
    def head_nbytes(self) -> int:
        """Length of the head to come, so that blocks can be written behind the room for it."""
        factors_nbytes = 0 if self.factors is None else len(self.factors.stored)
        return head_nbytes(self.raw_nbytes, self._block_log2, factors_nbytes + len(self._tables))

    def raw_range(self, index: int) -> tuple[int, int]:
        """Which bytes of the content make a block."""
        start = index << self._block_log2
        return start, min(start + (1 << self._block_log2), self.raw_nbytes)

    def base_range(self, index: int) -> tuple[int, int]:
        """Which bytes of the base :meth:`encode_block` takes for a block; may be empty."""
        return self.words.base_span(*self.raw_range(index), self.base_nbytes or 0)

    def encode_block(
        self, index: int, target_block: Buffer, base_block: Buffer | None = None
    ) -> bytes:
        """The stored bytes of a block.

        ValueError if a buffer is not of the block's length, NotNarrow if the words are not narrow.
        """
        target = byte_view(target_block)
        start, stop = self.raw_range(index)
        if target.size != stop - start:
            raise ValueError(f"block {index} has {stop - start} bytes, not {target.size}")
        base = None
        if self.base_nbytes is not None:
            base = byte_view(b"" if base_block is None else base_block)
            first, last = self.base_range(index)
            if base.size != last - first:
                raise ValueError(f"block {index} takes {last - first} bytes of the base")
            base = moved_base(self.words, self.factors, base, start)
        words = narrowed(self.words, target)
        method, stored = pack_block(self.codec, self.words.layout, words, base, self._tables)
        raw_check = checksum(target)
        is_plain = method is Method.RAW and not self.words.is_narrow
        stored_check = raw_check if is_plain else checksum(byte_view(stored))
        self._blocks[index] = BlockInfo(len(stored), method, stored_check, raw_check)
        return stored

    def block_info(self, index: int) -> BlockInfo:
        """The index line of an encoded block; ValueError if it has not been encoded yet."""
        block = self._blocks[index]
        if block is None:
            raise ValueError(f"block {index} has not been encoded")
        return block

    def finish(self, block_infos: list[BlockInfo] | None = None) -> bytes:
        """The head of the frame; the blocks follow it in order.

        ``block_infos`` are the index lines of all blocks when other encoders made some of them;
        otherwise those of the blocks encoded here.
        """
        if block_infos is None:
            block_infos = [self.block_info(index) for index in range(self.block_count)]
        if len(block_infos) != self.block_count:
            raise ValueError(f"{self.block_count} blocks make this frame, not {len(block_infos)}")
        return build_head(
            self.codec,
            self.words,
            self.raw_nbytes,
            self.base_nbytes,
            self._block_log2,
            block_infos,
            self._tables,
            self.factors,
        )


def _check_factors(factors: Factors, codec: Method, words: Words, raw_nbytes: int) -> None:
    """ValueError for factors of which no head could be parsed."""
    if codec not in NEEDS_BASE or words.coded not in SHIFTED:
        raise ValueError(f"factors do not serve {codec.name} of {words.content.name}")
    factors.check(raw_nbytes // words.content_width)
    if len(factors.stored) > min(raw_nbytes, MAX_FACTORS_NBYTES):
        raise ValueError("factors that take more than the content do not serve it")


def method_of(codec: str) -> Method:
    """The method of a codec name in any case; ValueError if this version cannot encode it."""
    method = Method.__members__.get(codec.upper())
    if method is None or method.label != method.name:
        raise ValueError(f"unknown codec {codec!r}")
    return method


def decode_block(
    head: FrameHead,
    index: int,
    stored: Buffer,
    base_block: Buffer | None = None,
    out: Buffer | None = None,
) -> memoryview:
    """The raw bytes of one block, verified, in ``out`` if given.

    ``stored`` are the bytes ``head.block_range(index)`` of the frame, ``base_block`` the bytes
    ``head.base_range(index)`` of the base. Raises CorruptFrame or BaseMismatch, after which
    ``out`` holds nothing of use; ValueError if ``out`` is not of the block's length.
    """
    block = head.block(index)
    start, stop = head.raw_range(index)
    source = byte_view(stored)
    if source.size != block.stored_nbytes:
        raise CorruptFrame(f"block {index} takes {block.stored_nbytes} bytes, not {source.size}")
    base = _base_of(head, block, index, base_block)
    target = np.empty(stop - start, np.uint8) if out is None else writable_view(out, stop - start)
    try:
        words = target
        if head.words.is_narrow:
            words = SCRATCH.buffer("coded", head.words.coded_nbytes(target.size))
        unpack_block(block.method, head.words.layout, source, base, words, head.tables)
        if words is not target:
            cast(words, head.words.coded, head.words.content, target)
        if checksum(target) != block.raw_check:
            raise CorruptFrame(f"block {index} fails its checksum")
    except CorruptFrame:
        if base is not None and checksum(source) == block.stored_check:
            raise BaseMismatch(f"block {index} is sound, but the base is another one") from None
        raise
    return target.data


def verify_block(head: FrameHead, index: int, stored: Buffer) -> None:
    """Check the stored bytes of a block without decoding it; CorruptFrame if they are damaged."""
    block = head.block(index)
    source = byte_view(stored)
    if source.size != block.stored_nbytes or checksum(source) != block.stored_check:
        raise CorruptFrame(f"block {index} fails its checksum")


def _base_of(
    head: FrameHead, block: BlockInfo, index: int, base_block: Buffer | None
) -> Bytes | None:
    """The base of a block that needs one, checked for length, as words like the content's."""
    if block.method not in NEEDS_BASE:
        return None
    if base_block is None:
        raise BaseMismatch("the frame needs its base")
    base = byte_view(base_block)
    start, stop = head.base_range(index)
    if base.size != stop - start:
        raise BaseMismatch(f"block {index} takes {stop - start} bytes of the base, not {base.size}")
    return moved_base(head.words, head.factors, base, head.raw_range(index)[0])
