"""A block in CTX: what the target adds to its base, coded in contexts that the base tells.

The difference of two floats, taken between their places in the order of all floats, is small
wherever they are close, and how small is told by the exponent of the base and by how far its
neighbourhood has moved. ``docs/formats/frame.md`` §2.3 has the format.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.context.alphabet import STRIDE, Alphabet, written
from codec.context.slots import load_tables
from codec.context.streams import GROUP, STATES_NBYTES, STREAM_HEADER, BlockStreams
from codec.elements.casts import close_up, spread
from codec.elements.dtypes import Layout
from codec.errors import CorruptFrame
from codec.plane.streams import Coding, pack_plane, pack_stream
from codec.scratch import SCRATCH

UNCHANGED: Final = 255
_GLANCE_NBYTES: Final = 2048
_WORD: Final = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
_LIFT: Final = 3
"""Context of a base as large as its neighbourhood has moved."""


@dataclass(frozen=True, slots=True, eq=False)
class CodeTables:
    """What encoding needs of the tables of a frame, flat over cells."""

    folds: NDArray[np.uint16]
    frequencies: NDArray[np.uint32]
    firsts: NDArray[np.uint32]
    inverses: NDArray[np.float64]


@lru_cache(maxsize=8)
def code_tables(tables: bytes, alphabet: Alphabet) -> CodeTables:
    """Tables as the encoder uses them; CorruptFrame if they are none."""
    from codec.context.training import folds_of

    rows = load_tables(tables, alphabet)
    if not rows[:, -1].all():
        raise CorruptFrame("the tables lack an escape, so cannot code every block")
    folds = folds_of(rows, alphabet)
    rows = np.pad(rows, ((0, 0), (0, STRIDE - alphabet.symbols)))
    firsts = np.cumsum(rows, axis=1, dtype=np.uint32) - rows
    return CodeTables(
        folds=folds,
        frequencies=rows.reshape(-1).astype(np.uint32),
        firsts=firsts.reshape(-1).astype(np.uint32),
        inverses=1.0 / np.maximum(rows.reshape(-1), 1),
    )


@lru_cache(maxsize=8)
def shape_of(layout: Layout) -> tuple[np.uint32, np.uint32, np.int32]:
    """Mantissa bits, exponent mask and lift, as every kernel takes them."""
    mask = (1 << layout.exponent) - 1
    return np.uint32(layout.mantissa), np.uint32(mask), np.int32(_LIFT + layout.bias_gap)


def gain_of(layout: Layout) -> np.float32:
    """What a word read with the exponent bias of a 32-bit float must be multiplied by."""
    return np.float32(2.0**layout.bias_gap)


def words_of(data: Bytes, layout: Layout) -> NDArray[Any]:
    """Whole little-endian words; copied only where they are not aligned."""
    words = data.view(_WORD[layout.width])
    return words if words.flags.aligned else words.copy()


def pack_context(layout: Layout, target: Bytes, base: Bytes, tables: bytes) -> bytes:
    """The stored bytes of a block; ``base`` is as long as ``target``."""
    from codec.context import kernels

    if layout.width == 1:
        words = spread(target, "target"), spread(base, "base")
        return pack_context(layout.in_contexts, *words, tables)

    width, count = layout.width, target.size // layout.width
    whole = count * width
    codes = code_tables(tables, written(layout))
    scales = np.empty(-(-count // GROUP), np.uint8)
    cells = SCRATCH.buffer("cells", 2 * count).view(np.uint16)
    raws = SCRATCH.buffer("raws", width * (count + 1))
    starts = np.arange(width, dtype=np.int64) * (count + 1)
    ends = starts.copy()
    words = words_of(target[:whole], layout), words_of(base[:whole], layout)
    kernels.symbolise(
        *words, *shape_of(layout), gain_of(layout), codes.folds, scales, cells, raws, ends
    )
    room = SCRATCH.buffer("context words", 2 * (count + STATES_NBYTES // 2 + 1)).view(np.uint16)
    at = kernels.encode(cells, scales, codes.frequencies, codes.firsts, codes.inverses, room)
    if np.all(scales == UNCHANGED):
        at = room.size
    streams = [scales, *(raws[start:end] for start, end in zip(starts, ends, strict=True))]
    pack_raw = pack_plane if width == 2 else _pack_lightly
    packed = [_pack_lightly(streams[0]), *map(pack_raw, streams[1:])]
    headers = [
        STREAM_HEADER.pack(coding, len(stored), stream.size)
        for stream, (coding, stored) in zip(streams, packed, strict=True)
    ]
    return b"".join(
        [*headers, *(stored for _, stored in packed), room[at:].tobytes(), target[whole:].data]
    )


def unpack_context(
    layout: Layout, alphabet: Alphabet, stored: Bytes, base: Bytes, tables: bytes, out: Bytes
) -> None:
    """Write the block to ``out``; CorruptFrame unless ``stored`` is one and its streams fit."""
    from codec.context.decode import decode

    if layout.width == 1:
        spread_out = SCRATCH.buffer("spread out", 2 * out.size)
        under = spread(base, "base")
        unpack_context(layout.in_contexts, alphabet, stored, under, tables, spread_out)
        close_up(spread_out, out)
        return
    width, (count, tail) = layout.width, divmod(out.size, layout.width)
    streams = BlockStreams.cut(stored, alphabet, count, tail)
    whole = count * width
    target = out[:whole].view(_WORD[width])
    words = target if target.flags.aligned else np.empty(count, _WORD[width])
    below = words_of(base[:whole], layout)
    fits = decode(streams.arguments, tables, alphabet, below, words, *shape_of(layout))
    if not fits or not streams.are_spent():
        raise CorruptFrame("the streams of a block do not end where its elements do")
    if words is not target:
        out[:whole] = words.view(np.uint8)
    if tail:
        out[whole:] = stored[stored.size - tail :]


def _pack_lightly(stream: Bytes) -> tuple[int, bytes | memoryview]:
    """As :func:`pack_stream`, unless a glance shows that raw bytes are all that comes of it."""
    glance = stream[:_GLANCE_NBYTES]
    if glance.size < stream.size and pack_stream(glance)[0] is Coding.RAW:
        return Coding.RAW, stream.data
    return pack_stream(stream) if stream.size else (Coding.RAW, b"")
