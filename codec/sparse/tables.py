"""Code tables of SPARSE: classes of magnitude, how often which gaps and numbers, and their bytes.

The byte format is described in ``docs/formats/frame.md`` §2.4: a table of some forty symbols takes
about as many half bytes, so that it is repaid by a few hundred changes.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.errors import CorruptFrame
from codec.steps import SLOTS, STEPS

SYMBOLS: Final = 253
ESCAPE: Final = SYMBOLS - 1
CONTEXTS: Final = 23
GAP_BITS: Final = 24
MAX_CLASSES: Final = 8
LIMIT_BITS: Final = 15

_REACH: Final = 7
"""Half bytes below 15 are steps of -7 to 7 from the code before."""


def symbols_of(bits: int) -> int:
    """How many symbols numbers of so many bits have, the escape left out."""
    return 4 * bits - 4


def extra_bits(symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of a number that its symbol leaves open; none for the escape."""
    bits = np.where(symbols < 8, 0, ((symbols - 8) >> 2) + 1)
    return np.where(symbols == ESCAPE, 0, bits)


@dataclass(frozen=True, slots=True, eq=False)
class SparseTables:
    """Limits of the classes, and for each class the row of every context, then of its numbers.

    ``limits`` are the upper 15 bits of magnitudes; ``rows`` index ``frequencies``, of which each
    row sums to 2,048.
    """

    limits: tuple[int, ...]
    rows: NDArray[np.int64]
    frequencies: NDArray[np.uint16]

    @property
    def classes(self) -> int:
        """How many classes words are in."""
        return len(self.limits) + 1

    def word_limits(self, width: int) -> NDArray[np.uint64]:
        """Least magnitudes of all classes but the first."""
        shift = 8 * width - 16
        if shift < 0:
            return np.array([-(-limit >> -shift) for limit in self.limits], np.uint64)
        return np.array([limit << shift for limit in self.limits], np.uint64)

    def store(self) -> bytes:
        """The stored form; all frequencies but the greatest of a row must be STEPS."""
        parts = [bytes([self.classes]), struct.pack(f"<{len(self.limits)}H", *self.limits)]
        for chosen in self.rows.reshape(self.classes, CONTEXTS + 1).tolist():
            ends = [k for k in range(1, CONTEXTS) if chosen[k] != chosen[k - 1]] + [CONTEXTS]
            parts.append(bytes([len(ends)]))
            for end in ends:
                parts += [bytes([end]), _store_row(self.frequencies[chosen[end - 1]])]
            parts.append(_store_row(self.frequencies[chosen[CONTEXTS]]))
        return b"".join(parts)

    @classmethod
    def load(cls, tables: bytes, width: int) -> Self:
        """The inverse of :meth:`store`; CorruptFrame for anything else."""
        reader = _Reader(tables)
        classes = reader.byte(1, MAX_CLASSES)
        limits = [reader.byte() | reader.byte() << 8 for _ in range(classes - 1)]
        if limits != sorted(set(limits)) or (limits and not 0 < limits[0] <= limits[-1] < 1 << 15):
            raise CorruptFrame("the limits of the classes are not in order")
        rows: list[int] = []
        frequencies: list[NDArray[np.uint16]] = []
        for _ in range(classes):
            end = 0
            for left in range(reader.byte(1, CONTEXTS), 0, -1):
                last = CONTEXTS if left == 1 else CONTEXTS - 1
                start, end = end, reader.byte(end + 1, last)
                rows += [len(frequencies)] * (end - start)
                frequencies.append(_load_row(reader, symbols_of(GAP_BITS)))
            if end != CONTEXTS:
                raise CorruptFrame("a context has no code table")
            rows.append(len(frequencies))
            frequencies.append(_load_row(reader, symbols_of(8 * width)))
        reader.finish()
        return cls(tuple(limits), np.array(rows, np.int64), np.stack(frequencies))


@dataclass(frozen=True, slots=True, eq=False)
class LoadedTables:
    """Tables as the kernels use them."""

    tables: SparseTables
    limits: NDArray[np.uint64]
    firsts: NDArray[np.uint16]
    slots: NDArray[np.uint32]


@lru_cache(maxsize=16)
def loaded_tables(tables: bytes, width: int) -> LoadedTables:
    """Stored tables ready for use; the last few are kept, since all blocks of a frame need them.

    Raises CorruptFrame if they are none.
    """
    from codec.sparse import rans

    loaded = SparseTables.load(tables, width)
    frequencies = loaded.frequencies
    firsts = np.cumsum(frequencies, axis=1, dtype=np.uint16) - frequencies
    slots = np.empty(frequencies.shape[0] * SLOTS, np.uint32)
    rans.fill_slots(frequencies, slots)
    for array in (frequencies, firsts, slots, loaded.rows):
        array.flags.writeable = False
    return LoadedTables(loaded, loaded.word_limits(width), firsts, slots)


class _Reader:
    """Bytes of tables, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def byte(self, least: int = 0, most: int = 255) -> int:
        """The next byte; CorruptFrame if there is none or it is out of bounds."""
        if self._at >= len(self._content):
            raise CorruptFrame("code tables are cut short")
        value = self._content[self._at]
        if not least <= value <= most:
            raise CorruptFrame(f"{value} is out of bounds in code tables")
        self._at += 1
        return value

    def finish(self) -> None:
        """CorruptFrame if bytes are left."""
        if self._at != len(self._content):
            raise CorruptFrame("bytes follow the last code table")


def _store_row(row: NDArray[Any]) -> bytes:
    """First, last and implied symbol, then half bytes for the codes of the others between."""
    used = np.flatnonzero(row[:ESCAPE])
    first, last, implied = int(used[0]), int(used[-1]), int(np.argmax(row[:ESCAPE]))
    codes = np.searchsorted(STEPS, row).tolist()
    halves: list[int] = []
    before = 0
    for symbol in range(first, last + 1):
        if symbol == implied:
            continue
        step = codes[symbol] - before
        before = codes[symbol]
        if abs(step) <= _REACH:
            halves.append(step + _REACH)
        else:
            halves += [15, before & 15, before >> 4]
    halves += [0] * (len(halves) % 2)
    pairs = (low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return bytes([first, last, implied, *pairs])


def _load_row(reader: _Reader, symbols: int) -> NDArray[np.uint16]:
    first = reader.byte(0, symbols - 1)
    last = reader.byte(first, symbols - 1)
    implied = reader.byte(first, last)
    row = np.zeros(SYMBOLS, np.uint16)
    row[ESCAPE] = 1
    half: int | None = None

    def next_half() -> int:
        nonlocal half
        if half is None:
            pair = reader.byte()
            half = pair >> 4
            return pair & 15
        high, half = half, None
        return high

    code = 0
    for symbol in range(first, last + 1):
        if symbol == implied:
            continue
        step = next_half()
        code = next_half() | next_half() << 4 if step == 15 else code + step - _REACH
        if not 0 <= code < STEPS.size:
            raise CorruptFrame("a code table has an unknown step")
        row[symbol] = STEPS[code]
    rest = SLOTS - int(row.sum(dtype=np.int64))
    if half or rest < 1:
        raise CorruptFrame("the frequencies of a code table do not fill its slots")
    row[implied] = rest
    return row
