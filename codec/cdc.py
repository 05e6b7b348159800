"""Content-defined chunk boundaries: a gear hash with normalised chunking (FastCDC, ATC'16 §3.3).

A boundary depends on the bytes since the last one and on nothing else, so an insertion moves
the boundaries around it and leaves those behind it where they were.
"""

import math
from typing import Final

import numpy as np

from codec.buffers import Buffer, byte_view

GEAR_SEED: Final = 0x436C616465
"""The gear table is the first 256 outputs of SplitMix64 from this seed ("Clade" in ASCII)."""

NORMALISATION: Final = 2
"""Bits that the boundary condition is stricter before the average length, and laxer after it."""

_WORD: Final = (1 << 64) - 1


def gear_table(seed: int = GEAR_SEED) -> np.ndarray:
    """256 words of SplitMix64 (Steele, Lea, Flood 2014), which every version must keep."""
    words = np.empty(256, np.uint64)
    for i in range(256):
        seed = (seed + 0x9E3779B97F4A7C15) & _WORD
        word = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
        words[i] = word ^ (word >> 31)
    return words


class ChunkBoundaries:
    """Finds the boundaries of one stream, fed in buffers of any lengths.

    Every chunk but the last is between ``min_nbytes`` and ``max_nbytes`` long, most are near
    ``average_nbytes``, which is a power of two.
    """

    def __init__(
        self,
        min_nbytes: int = 128 << 10,
        average_nbytes: int = 512 << 10,
        max_nbytes: int = 2 << 20,
    ) -> None:
        if not 0 < min_nbytes <= average_nbytes <= max_nbytes:
            raise ValueError("chunk lengths must be 0 < min <= average <= max")
        bits = round(math.log2(average_nbytes))
        if 1 << bits != average_nbytes or not NORMALISATION < bits <= 40:
            raise ValueError("the average chunk length must be a power of two from 8 bytes on")
        self._zones = (
            (min_nbytes, None),
            (average_nbytes, _high_bits(bits + NORMALISATION)),
            (max_nbytes, _high_bits(bits - NORMALISATION)),
        )
        self._gear = gear_table()
        self._state = np.uint64(0)
        self._chunk_nbytes = 0
        self._offset = 0

    def feed(self, view: Buffer) -> list[int]:
        """Boundaries, as offsets from the start of the stream, that the next bytes complete."""
        data = byte_view(view)
        boundaries: list[int] = []
        while data.size:
            taken, is_boundary = self._advance(data)
            data = data[taken:]
            self._offset += taken
            self._chunk_nbytes += taken
            if is_boundary:
                boundaries.append(self._offset)
                self._chunk_nbytes = 0
                self._state = np.uint64(0)
        return boundaries

    def finish(self) -> int | None:
        """The end of the stream if a chunk is still open there, else None. Ends the stream."""
        is_open, self._chunk_nbytes = self._chunk_nbytes > 0, 0
        return self._offset if is_open else None

    def _advance(self, data: np.ndarray) -> tuple[int, bool]:
        """Bytes to take within the zone the open chunk is in, and whether a boundary follows."""
        from codec.gear import gear_scan

        end, mask = next(zone for zone in self._zones if self._chunk_nbytes < zone[0])
        part = data[: end - self._chunk_nbytes]
        reached = self._chunk_nbytes + part.size
        if mask is None:
            return part.size, reached == self._zones[-1][0]
        taken, self._state = gear_scan(part, self._state, mask, self._gear)
        if taken <= part.size:
            return int(taken), True
        return part.size, reached == self._zones[-1][0]


def _high_bits(bits: int) -> np.uint64:
    """The high bits of the gear state, which the last 64 bytes have all had a say in."""
    return np.uint64(((1 << bits) - 1) << (64 - bits))
