"""Compiled loops that add a low-rank product to the words of a base.

Sums are of integers, modulo 2**32, so their order is free. What follows is rounded to nearest even
after each conversion, product and sum of floats of 32 bits, and nothing is fused: so all processors
agree on every bit. ``tests/codec/lowrank/naive.py`` says the same in NumPy.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.elements.cast_kernels import (
    as_bits,
    as_float,
    half_of_single_word,
    single_of_half_word,
)
from codec.lowrank.factors import PADDING
from codec.machine.compiling import njit
from codec.machine.vectors32 import add, dot, load, splat, store

_U16, _U32, _F32 = np.uint16, np.uint32, np.float32
_u16, _u32, _i32 = (types.Array(kind, 1, "C") for kind in (types.uint16, types.uint32, types.int32))
_in16, _in32 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint16, types.uint32))
_matrix = types.Array(types.uint32, 2, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}
_TILE: Final = 64
"""Columns of two rows whose sums stay in registers."""
assert PADDING >= _TILE


@njit(inline="always")
def _two_rows(left: Any, right: Any, row: int, columns: int, at: int, sums: Any) -> None:
    """From the last columns to the first, so that what is written beyond a row is put right."""
    pairs, stride = right.shape
    for j in range((columns - 1) // _TILE * _TILE, -1, -_TILE):
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = splat(_U32(0))
        for k in range(pairs):
            place = k * stride + j
            above, below = splat(left[row, k]), splat(left[row + 1, k])
            r0, r1 = load(right, place), load(right, place + 16)
            r2, r3 = load(right, place + 32), load(right, place + 48)
            a0, a1 = add(a0, dot(r0, above)), add(a1, dot(r1, above))
            a2, a3 = add(a2, dot(r2, above)), add(a3, dot(r3, above))
            b0, b1 = add(b0, dot(r0, below)), add(b1, dot(r1, below))
            b2, b3 = add(b2, dot(r2, below)), add(b3, dot(r3, below))
        upper, lower = at + j, at + columns + j
        store(sums, upper, a0)
        store(sums, upper + 16, a1)
        store(sums, upper + 32, a2)
        store(sums, upper + 48, a3)
        store(sums, lower, b0)
        store(sums, lower + 16, b1)
        store(sums, lower + 32, b2)
        store(sums, lower + 48, b3)


@njit(inline="always")
def _one_row(left: Any, right: Any, row: int, column: int, taken: int, at: int, sums: Any) -> None:
    pairs, stride = right.shape
    for j in range(0, taken, 32):
        a0 = a1 = splat(_U32(0))
        for k in range(pairs):
            place = k * stride + column + j
            above = splat(left[row, k])
            a0 = add(a0, dot(load(right, place), above))
            a1 = add(a1, dot(load(right, place + 16), above))
        store(sums, at + j, a0)
        store(sums, at + j + 16, a1)


@njit(types.void(_matrix, _matrix, types.int64, types.int64, types.int64, _i32), **_compiled)
def add_up(left: Any, right: Any, columns: int, first: int, count: int, sums: Any) -> None:
    """``count`` elements of a product from number ``first`` on, row by row.

    ``left`` is (rows x pairs), ``right`` (pairs x columns and PADDING more), each element two
    numbers for two ranks; ``sums`` has PADDING elements of room behind them.
    """
    row, column, at = first // columns, first % columns, 0
    while at < count:
        taken = min(columns - column, count - at)
        if taken == columns and at + 2 * columns <= count:
            _two_rows(left, right, row, columns, at, sums)
            row, at = row + 2, at + 2 * columns
        else:
            _one_row(left, right, row, column, taken, at, sums)
            row, at, column = row + 1, at + taken, 0


@njit(types.void(_in16, _i32, types.float32, _u16), **_compiled)
def shift_brain(words: Any, sums: Any, scale: Any, out: Any) -> None:
    """Words of BF16 moved by sums times a scale; NaNs and infinities stay."""
    for i in range(words.size):
        word = _U32(words[i])
        single = _F32(as_float(_U32(word << _U32(16))) + _F32(_F32(sums[i]) * scale))
        # No NaN can come of this, so rounding needs no care for one.
        bits = as_bits(single)
        moved = _U32(_U32(bits + _U32(0x7FFF) + _U32(_U32(bits >> _U32(16)) & _U32(1))) >> _U32(16))
        out[i] = _U16(word if (word & _U32(0x7F80)) == _U32(0x7F80) else moved)


@njit(types.void(_in16, _i32, types.float32, _u16), **_compiled)
def shift_half(words: Any, sums: Any, scale: Any, out: Any) -> None:
    """Words of F16 moved by sums times a scale; NaNs and infinities stay."""
    for i in range(words.size):
        word = _U32(words[i])
        single = _F32(as_float(single_of_half_word(word)) + _F32(_F32(sums[i]) * scale))
        moved = _U32(half_of_single_word(as_bits(single)))
        out[i] = _U16(word if (word & _U32(0x7C00)) == _U32(0x7C00) else moved)


@njit(types.void(_in32, _i32, types.float32, _u32), **_compiled)
def shift_single(words: Any, sums: Any, scale: Any, out: Any) -> None:
    """Words of F32 moved by sums times a scale; NaNs and infinities stay."""
    for i in range(words.size):
        word = _U32(words[i])
        moved = as_bits(_F32(as_float(word) + _F32(_F32(sums[i]) * scale)))
        out[i] = word if (word & _U32(0x7F800000)) == _U32(0x7F800000) else moved
