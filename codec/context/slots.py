"""Code tables of CTX: how often each symbol is expected in each context, and their stored form.

A table gives every symbol of an alphabet (``codec.context.alphabet``) a number of the 2,048 slots
of its context; the byte format is described in ``docs/formats/frame.md`` §2.3. Frequencies are
stored as codes of coarse steps, so that a table of some thousand symbols takes some hundred bytes.
"""

import struct
from functools import lru_cache
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from codec.context.alphabet import Alphabet, entries, values
from codec.errors import CorruptFrame
from codec.steps import SLOTS, STEPS

CONTEXTS: Final = 16

_HEADER: Final = struct.Struct("<HHB")
_HEADERS_NBYTES: Final = CONTEXTS * _HEADER.size
_LEVEL: Final = 9


def store_tables(frequencies: NDArray[np.uint16]) -> bytes:
    """The stored form of 16 rows of frequencies, each a sum of 2,048 with no symbol having all.

    In each row all but the most frequent symbol have a frequency that is one of STEPS.
    """
    headers, rows = [], []
    for context in range(CONTEXTS):
        row = frequencies[context]
        if context and np.array_equal(row, frequencies[context - 1]):
            headers.append(_HEADER.pack(0, 0, 0))
            continue
        implied = int(np.argmax(row[:-1]))
        codes = np.searchsorted(STEPS, row).astype(np.uint8)
        codes[implied] = 0
        used = int(np.flatnonzero(row[:-1])[-1]) + 1
        headers.append(_HEADER.pack(used, implied, codes[-1]))
        steps = codes[:used].copy()
        steps[2:] -= codes[: max(used - 2, 0)]
        rows.append(steps.tobytes())
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
    return compressor.compress(b"".join([*headers, *rows]))


def load_tables(tables: bytes, alphabet: Alphabet) -> NDArray[np.uint16]:
    """The 16 rows of frequencies of the symbols of an alphabet.

    Raises CorruptFrame for anything that is not the stored form of such rows.
    """
    symbols = alphabet.symbols
    content = _unpack(tables, _HEADERS_NBYTES + CONTEXTS * (symbols - 1))
    frequencies = np.zeros((CONTEXTS, symbols), np.uint16)
    position = _HEADERS_NBYTES
    for context in range(CONTEXTS):
        used, implied, escape = _HEADER.unpack_from(content, context * _HEADER.size)
        if not used:
            if not context:
                raise CorruptFrame("the first context has no table")
            frequencies[context] = frequencies[context - 1]
            continue
        steps = np.frombuffer(content, np.uint8, min(used, len(content) - position), position)
        if used > symbols - 1 or steps.size < used or implied >= used:
            raise CorruptFrame("a code table is cut short or names a symbol beyond its alphabet")
        position += used
        codes = np.empty(used, np.uint8)
        codes[::2] = np.cumsum(steps[::2], dtype=np.uint8)
        codes[1::2] = np.cumsum(steps[1::2], dtype=np.uint8)
        if max(codes.max(), escape) >= STEPS.size:
            raise CorruptFrame("a code table has an unknown step")
        row = frequencies[context]
        row[:used], row[-1] = STEPS[codes], STEPS[escape]
        rest = SLOTS - int(row.sum(dtype=np.int64))
        if codes[implied] or not 0 < rest < SLOTS:
            raise CorruptFrame("the frequencies of a code table do not fill its slots")
        row[implied] = rest
    if position != len(content):
        raise CorruptFrame("bytes follow the last code table")
    return frequencies


@lru_cache(maxsize=32)
def narrow_slots(tables: bytes, alphabet: Alphabet) -> tuple[NDArray[np.uint32], np.uint32]:
    """For contexts and slots: symbol (10 bits), its frequency (11), slot within it (11); and n.

    There are entries for every 2^n-th slot only, as few as the tables allow. Where all frequencies
    are multiples of 2^n, so is the first slot of every symbol; the entries between would differ by
    nothing but the low n bits of their slot. The fewer there are, the more of them the first cache
    holds. Symbols are named as :func:`codec.context.alphabet.entries` says.

    Raises CorruptFrame as :func:`load_tables`. The last few are kept, since all blocks of a frame
    need the same.
    """
    from codec.context import kernels

    frequencies, step, count = _dense(tables, alphabet)
    slots = np.empty(count, np.uint32)
    kernels.fill_narrow_slots(frequencies, entries(alphabet), step, slots)
    slots.flags.writeable = False
    return slots, np.uint32(step.bit_length() - 1)


@lru_cache(maxsize=32)
def wide_slots(tables: bytes, alphabet: Alphabet) -> tuple[NDArray[np.uint16], np.uint32]:
    """As :func:`narrow_slots`, in four times 16 bits: symbol, frequency, its first slot, nothing.

    For those who read parts of an entry one by one. Symbols are named as
    :func:`codec.context.alphabet.values` says.
    """
    from codec.context import kernels

    frequencies, step, count = _dense(tables, alphabet)
    slots = np.zeros(4 * count, np.uint16)
    kernels.fill_wide_slots(frequencies, values(alphabet), step, slots)
    slots.flags.writeable = False
    return slots, np.uint32(step.bit_length() - 1)


def _dense(tables: bytes, alphabet: Alphabet) -> tuple[NDArray[np.uint16], int, int]:
    """Frequencies, of how many slots one has an entry, and how many entries that makes."""
    frequencies = load_tables(tables, alphabet)
    step = int(np.gcd.reduce(frequencies, axis=None))
    return frequencies, step, CONTEXTS * SLOTS // step


def _unpack(tables: bytes, limit: int) -> bytes:
    try:
        nbytes = zstandard.frame_content_size(tables)
        if not _HEADERS_NBYTES <= nbytes <= limit:
            raise CorruptFrame("code tables of an impossible length")
        content = zstandard.ZstdDecompressor().decompress(tables, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptFrame(f"zstd: {error}") from None
    return content
