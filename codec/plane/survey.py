"""Compiled looks at a plane before it is coded: how often bytes occur, and what a code would take.

One call each, outside of the interpreter's lock, so that threads that encode do not queue for it.
"""

import math
from typing import Any, Final

import numpy as np
from numba import types

from codec.machine.compiling import njit
from codec.plane.kernels import FEW, LANES, SLOTS, apportion, count, present

STRIDE: Final = 2056
"""Of so many bytes a quarter stands for all, where a quarter is enough; no row of a tensor is."""
_FEWEST: Final = 64
_STATES_NBYTES: Final = 4 * LANES

_U8, _U32, _U64 = np.uint8, np.uint32, np.uint64
_u32 = types.Array(types.uint32, 1, "C")
_in8, _in32 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint32))
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


@njit(types.void(_in8, _u32), **_compiled)
def weigh(plane: Any, counts: Any) -> None:
    """About how often each byte occurs in a plane, and at least once if it does at all.

    Exact, unless all that occur are within 64 of which the first is a multiple of that: the
    exponents of ordinary weights. Then a quarter of the plane stands for all of it.
    """
    parts = plane.size // STRIDE
    base = _U8(plane[0] & _U8(256 - FEW)) if parts else _U8(0)
    found = present(plane, base) if parts >= _FEWEST else _U64(0)
    if not found:
        count(plane, counts)
        return
    tables = np.zeros(8 * 256, np.uint32)
    for part in range(parts):
        start = _U64(part * STRIDE)
        for i in range(0, STRIDE // 4 - 7, 8):
            for k in range(8):
                tables[_U64(256 * k) + _U64(plane[start + _U64(i + k)])] += _U32(1)
        for i in range(STRIDE // 4 // 8 * 8, STRIDE // 4):
            tables[_U64(plane[start + _U64(i)])] += _U32(1)
    for symbol in range(256):
        total = _U32(0)
        for k in range(8):
            total += tables[256 * k + symbol]
        counts[symbol] = _U32(4) * total
    for symbol in range(FEW):
        if (found >> _U64(symbol)) & _U64(1):
            counts[base + symbol] = max(counts[base + symbol], _U32(1))


@njit(types.float64(_in32, types.float64), **_compiled)
def stream_nbytes(counts: Any, scale: float) -> float:
    """Length, within some bytes, of the stream of a plane with ``scale`` times these counts.

    A fifth of what the states take is symbols that need no words.
    """
    frequencies = np.empty(256, np.uint16)
    apportion(counts, frequencies)
    bits, used = 0.0, 0
    for symbol in range(256):
        if counts[symbol]:
            bits += counts[symbol] * math.log2(SLOTS / frequencies[symbol])
            used += 1
    return scale * bits / 8 + 1.25 * used + 0.8 * _STATES_NBYTES


@njit(types.float64(_in32), **_compiled)
def code_nbytes(counts: Any) -> float:
    """Length of bytes that occur so often under an ideal code for them, without its description."""
    total, bits = 0.0, 0.0
    for symbol in range(256):
        total += counts[symbol]
    for symbol in range(256):
        if counts[symbol]:
            bits += counts[symbol] * math.log2(total / counts[symbol])
    return bits / 8


@njit(types.float64(_in8, _in32), **_compiled)
def restlessness(plane: Any, counts: Any) -> float:
    """How many bytes differ from the one before, as a share of what chance would make of them."""
    same, alike = 0, 0.0
    for i in range(1, plane.size):
        same += plane[i] == plane[i - 1]
    for symbol in range(256):
        alike += (counts[symbol] / plane.size) ** 2
    expected = (plane.size - 1) * (1 - alike)
    return (plane.size - 1 - same) / expected if expected > 0 else 0.0
