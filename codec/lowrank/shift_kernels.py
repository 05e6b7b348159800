"""Compiled loops that move the words of a base by a low-rank product.

Sums are of integers, modulo 2**32, so their order is free. What follows is rounded to nearest even
after each conversion, product and sum of floats of 32 bits, and nothing is fused: so all processors
agree on every bit. ``tests/codec/lowrank/naive.py`` says the same in NumPy.

All rows of a strip of columns come before the next strip: so its part of the right factor stays in
the first cache at any rank, and sums never leave registers.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.elements.cast_kernels import (
    HALF_NORMAL,
    HALF_OVERFLOW,
    HALF_REBIAS,
    HALF_STEP,
    as_bits,
)
from codec.lowrank.factors import STRIP
from codec.machine.compiling import njit
from codec.machine.instructions import instruction_set
from codec.machine.vectors32 import (
    add,
    add_floats,
    below,
    both,
    choose,
    dot,
    either,
    load,
    multiply_floats,
    prefetch,
    shift_down,
    shift_up,
    splat,
    store,
    subtract,
    subtract_floats,
    to_floats,
)

_U32: Final = np.uint32
_u16, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint16, types.uint32))
_in16, _in32 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint16, types.uint32))
_lefts = types.Array(types.uint32, 2, "C", readonly=True)
_strips = types.Array(types.uint32, 3, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}
_TOGETHER: Final = 4
"""Rows of a strip that are gone through at once."""
assert STRIP == 64


@njit(inline="always")
def _moved_brain(word: Any, step: Any) -> Any:
    """Sixteen words of BF16. No NaN can come of the sum, so rounding needs no care for one."""
    single = add_floats(shift_up(word, splat(_U32(16))), step)
    odd = both(shift_down(single, splat(_U32(16))), splat(_U32(1)))
    moved = shift_down(add(add(single, splat(_U32(0x7FFF))), odd), splat(_U32(16)))
    exponent = splat(_U32(0x7F80))
    return choose(below(both(word, exponent), exponent), moved, word)


@njit(inline="always")
def _moved_half(word: Any, step: Any) -> Any:
    """Sixteen words of F16, with the casts of ``codec.elements.cast_kernels``, less its NaNs."""
    bits = shift_up(both(word, splat(_U32(0x7FFF))), splat(_U32(13)))
    normal = splat(HALF_NORMAL)
    small = subtract_floats(either(bits, normal), normal)
    single = choose(below(bits, splat(_U32(0x00800000))), small, add(bits, splat(HALF_REBIAS)))
    single = either(single, shift_up(both(word, splat(_U32(0x8000))), splat(_U32(16))))
    single = add_floats(single, step)

    size = both(single, splat(_U32(0x7FFFFFFF)))
    odd = both(shift_down(size, splat(_U32(13))), splat(_U32(1)))
    rounded = add(add(subtract(size, splat(HALF_REBIAS)), splat(_U32(0xFFF))), odd)
    tiny = subtract(add_floats(size, splat(HALF_STEP)), splat(HALF_STEP))
    half = choose(below(size, normal), tiny, shift_down(rounded, splat(_U32(13))))
    half = choose(below(size, splat(HALF_OVERFLOW)), half, splat(_U32(0x7C00)))
    half = either(half, both(shift_down(single, splat(_U32(16))), splat(_U32(0x8000))))
    exponent = splat(_U32(0x7C00))
    return choose(below(both(word, exponent), exponent), half, word)


@njit(inline="always")
def _moved_single(word: Any, step: Any) -> Any:
    """Sixteen words of F32."""
    exponent = splat(_U32(0x7F800000))
    return choose(below(both(word, exponent), exponent), add_floats(word, step), word)


@njit(inline="always")
def _put(moved: Any, total: Any, scale: Any, words: Any, at: int, out: Any) -> None:
    store(out, at, moved(load(words, at), multiply_floats(to_floats(total), scale)))


@njit(inline="always")
def _plus(total: Any, right: Any, left: Any) -> Any:
    return add(total, dot(right, left))


@njit(inline="always")
def _move_rows_widely(
    moved: Any,
    left: Any,
    strips: Any,
    strip: int,
    row: int,
    scale: Any,
    words: Any,
    at: int,
    columns: int,
    out: Any,
) -> None:
    """Four rows in one pass over a strip, for the 32 registers of AVX-512."""
    pairs = strips.shape[1]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = splat(_U32(0))
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = splat(_U32(0))
    for k in range(pairs):
        place = (strip * pairs + k) * STRIP
        r0, r1 = load(strips, place), load(strips, place + 16)
        r2, r3 = load(strips, place + 32), load(strips, place + 48)
        a, b = splat(left[row, k]), splat(left[row + 1, k])
        c, d = splat(left[row + 2, k]), splat(left[row + 3, k])
        a0, a1, a2, a3 = _plus(a0, r0, a), _plus(a1, r1, a), _plus(a2, r2, a), _plus(a3, r3, a)
        b0, b1, b2, b3 = _plus(b0, r0, b), _plus(b1, r1, b), _plus(b2, r2, b), _plus(b3, r3, b)
        c0, c1, c2, c3 = _plus(c0, r0, c), _plus(c1, r1, c), _plus(c2, r2, c), _plus(c3, r3, c)
        d0, d1, d2, d3 = _plus(d0, r0, d), _plus(d1, r1, d), _plus(d2, r2, d), _plus(d3, r3, d)
    _put(moved, a0, scale, words, at, out)
    _put(moved, a1, scale, words, at + 16, out)
    _put(moved, a2, scale, words, at + 32, out)
    _put(moved, a3, scale, words, at + 48, out)
    _put(moved, b0, scale, words, at + columns, out)
    _put(moved, b1, scale, words, at + columns + 16, out)
    _put(moved, b2, scale, words, at + columns + 32, out)
    _put(moved, b3, scale, words, at + columns + 48, out)
    _put(moved, c0, scale, words, at + 2 * columns, out)
    _put(moved, c1, scale, words, at + 2 * columns + 16, out)
    _put(moved, c2, scale, words, at + 2 * columns + 32, out)
    _put(moved, c3, scale, words, at + 2 * columns + 48, out)
    _put(moved, d0, scale, words, at + 3 * columns, out)
    _put(moved, d1, scale, words, at + 3 * columns + 16, out)
    _put(moved, d2, scale, words, at + 3 * columns + 32, out)
    _put(moved, d3, scale, words, at + 3 * columns + 48, out)


@njit(inline="always")
def _move_rows_narrowly(
    moved: Any,
    left: Any,
    strips: Any,
    strip: int,
    row: int,
    scale: Any,
    words: Any,
    at: int,
    columns: int,
    out: Any,
) -> None:
    """Four rows in four passes, each over half of a strip, for 16 registers of eight lanes."""
    pairs = strips.shape[1]
    for lower in range(0, _TOGETHER, 2):
        for aside in range(0, STRIP, 32):
            a0 = a1 = b0 = b1 = splat(_U32(0))
            for k in range(pairs):
                place = (strip * pairs + k) * STRIP + aside
                r0, r1 = load(strips, place), load(strips, place + 16)
                a, b = splat(left[row + lower, k]), splat(left[row + lower + 1, k])
                a0, a1 = _plus(a0, r0, a), _plus(a1, r1, a)
                b0, b1 = _plus(b0, r0, b), _plus(b1, r1, b)
            upper = at + lower * columns + aside
            _put(moved, a0, scale, words, upper, out)
            _put(moved, a1, scale, words, upper + 16, out)
            _put(moved, b0, scale, words, upper + columns, out)
            _put(moved, b1, scale, words, upper + columns + 16, out)


_move_rows: Any = _move_rows_widely if instruction_set() == "avx512" else _move_rows_narrowly


@njit(inline="always")
def _move_row(
    moved: Any, left: Any, strips: Any, strip: int, row: int, scale: Any, words: Any
) -> None:
    """The words of one row in a strip, in their place."""
    pairs = strips.shape[1]
    for aside in range(0, STRIP, 32):
        a0 = a1 = splat(_U32(0))
        for k in range(pairs):
            place = (strip * pairs + k) * STRIP + aside
            a = splat(left[row, k])
            a0, a1 = _plus(a0, load(strips, place), a), _plus(a1, load(strips, place + 16), a)
        _put(moved, a0, scale, words, aside, words)
        _put(moved, a1, scale, words, aside + 16, words)


@njit(inline="always")
def _move(
    moved: Any,
    left: Any,
    strips: Any,
    columns: int,
    first: int,
    factor: Any,
    words: Any,
    spare: Any,
    out: Any,
) -> None:
    scale = splat(as_bits(factor))
    stop, line = words.size, 64 // words.itemsize
    bottom = (first + stop - 1) // columns
    for strip in range(strips.shape[0]):
        width = min(STRIP, columns - strip * STRIP)
        row = first // columns
        while row <= bottom:
            at = row * columns + strip * STRIP - first
            if width == STRIP and at >= 0 and at + (_TOGETHER - 1) * columns + STRIP <= stop:
                _move_rows(moved, left, strips, strip, row, scale, words, at, columns, out)
                # Processors foresee no steps of a whole row, so ask for the next strip's words.
                for each in range(_TOGETHER):
                    for ahead in range(0, STRIP, line):
                        prefetch(words, at + each * columns + STRIP + ahead)
                row += _TOGETHER
                continue
            begin, end = max(-at, 0), min(width, stop - at)
            for i in range(begin, end):
                spare[i] = words[at + i]
            _move_row(moved, left, strips, strip, row, scale, spare)
            for i in range(begin, end):
                out[at + i] = spare[i]
            row += 1


_common = (_lefts, _strips, types.int64, types.int64, types.float32)


@njit(types.void(*_common, _in16, _u16, _u16), **_compiled)
def move_brain(
    left: Any, strips: Any, columns: int, first: int, factor: Any, words: Any, spare: Any, out: Any
) -> None:
    """Words of BF16, from number ``first`` on of a matrix of so many columns.

    ``left`` is (rows x pairs), ``strips`` (strips x pairs x STRIP), each element two numbers for
    two ranks, ``factor`` what their product is multiplied by; ``spare`` has room for STRIP words.
    NaNs and infinities stay.
    """
    _move(_moved_brain, left, strips, columns, first, factor, words, spare, out)


@njit(types.void(*_common, _in16, _u16, _u16), **_compiled)
def move_half(
    left: Any, strips: Any, columns: int, first: int, factor: Any, words: Any, spare: Any, out: Any
) -> None:
    """Words of F16, as :func:`move_brain` those of BF16."""
    _move(_moved_half, left, strips, columns, first, factor, words, spare, out)


@njit(types.void(*_common, _in32, _u32, _u32), **_compiled)
def move_single(
    left: Any, strips: Any, columns: int, first: int, factor: Any, words: Any, spare: Any, out: Any
) -> None:
    """Words of F32, as :func:`move_brain` those of BF16."""
    _move(_moved_single, left, strips, columns, first, factor, words, spare, out)
