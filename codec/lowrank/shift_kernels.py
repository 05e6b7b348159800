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
    brain_of_single_word,
    half_of_single_word,
    single_of_half_word,
)
from codec.machine.compiling import njit

_U16, _U32, _I32, _F32 = np.uint16, np.uint32, np.int32, np.float32
_u16, _u32, _i32 = (types.Array(kind, 1, "C") for kind in (types.uint16, types.uint32, types.int32))
_in16, _in32 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint16, types.uint32))
_matrix = types.Array(types.int16, 2, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}
_TOGETHER: Final = 4


@njit(types.void(_matrix, _matrix, types.int64, _i32), **_compiled)
def add_up(left: Any, right: Any, first: int, sums: Any) -> None:
    """The elements from number ``first`` on of a product, as many as ``sums`` has, row by row."""
    rank, columns = right.shape
    row, column = first // columns, first % columns
    at = 0
    while at < sums.size:
        taken = min(columns - column, sums.size - at)
        part = sums[at : at + taken]
        part[:] = _I32(0)
        k = 0
        while k + _TOGETHER <= rank:
            a, b = _I32(left[row, k]), _I32(left[row, k + 1])
            c, d = _I32(left[row, k + 2]), _I32(left[row, k + 3])
            p = right[k, column : column + taken]
            q = right[k + 1, column : column + taken]
            r = right[k + 2, column : column + taken]
            s = right[k + 3, column : column + taken]
            for j in range(taken):
                part[j] = _I32(part[j] + a * p[j] + b * q[j] + c * r[j] + d * s[j])
            k += _TOGETHER
        while k < rank:
            a = _I32(left[row, k])
            p = right[k, column : column + taken]
            for j in range(taken):
                part[j] = _I32(part[j] + a * p[j])
            k += 1
        at += taken
        row, column = row + 1, 0


@njit(types.void(_in16, _i32, types.float32, _u16), **_compiled)
def shift_brain(words: Any, sums: Any, scale: Any, out: Any) -> None:
    """Words of BF16 moved by sums times a scale; NaNs and infinities stay."""
    for i in range(words.size):
        word = _U32(words[i])
        single = _F32(as_float(_U32(word << _U32(16))) + _F32(_F32(sums[i]) * scale))
        moved = _U32(brain_of_single_word(as_bits(single)))
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
