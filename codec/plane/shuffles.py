"""Decoding planes of up to 64 symbols into words, as ``codec.plane.registers``, for AVX2.

A register of AVX2 finds bytes in a table of 16, not words in one of 64: so tables are cut into
bytes, each is four registers, and an entry comes from four shuffles of which all but one give 0.
Half of them are left out where there are no more than 32 symbols, as with most exponents. States do
not fit into the registers and lie in memory; the look-ups of some stand before the arithmetic of
others, because a processor would otherwise wait for one long chain of results.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.machine.compiling import njit
from codec.machine.vectors8 import LANES as WIDTH
from codec.machine.vectors8 import (
    add,
    add_capped,
    below,
    below_bytes,
    both,
    choose,
    choose_bytes,
    count,
    differ_bytes,
    either,
    either_bytes,
    equal,
    load,
    load_bytes,
    load_signed_bytes,
    load_twice,
    look_up,
    multiply,
    multiply_high,
    pack,
    shift_down,
    shift_up,
    splat,
    splat_bytes,
    spread,
    store,
    unpack_first,
    unpack_second,
    zip_lower,
    zip_upper,
)
from codec.plane.kernels import FEW, LANES, halves_of, join_halves

_U8: Any = np.uint8
_U16: Any = np.uint16
_u8, _u16, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32))
_in8, _in16 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint16))
_OWNS, _PARTNERS, _ONWARD, _SHARES, _SYMBOLS = 0, FEW, 2 * FEW, 4 * FEW, 6 * FEW
_stream = (_in8, types.int64, types.int64, _u32, _in16)


@njit(forceinline=True)
def _bytes_of(tables: Any) -> Any:
    """The tables of ``kernels.fill_registers`` byte by byte."""
    made = np.empty(7 * FEW, np.uint8)
    for j in range(FEW):
        made[_OWNS + j] = _U8(tables[j] >> _U16(10))
        made[_PARTNERS + j] = _U8(tables[j] & _U16(63))
        onward, shares = tables[FEW + j], tables[2 * FEW + j]
        made[_ONWARD + j], made[_ONWARD + FEW + j] = _U8(onward), _U8(onward >> _U16(8))
        made[_SHARES + j], made[_SHARES + FEW + j] = _U8(shares), _U8(shares >> _U16(8))
        made[_SYMBOLS + j] = _U8(tables[3 * FEW + j] >> _U16(7))
    return made


@njit(forceinline=True)
def _indexes(at: Any) -> Any:
    """Indexes below 64 into each quarter of a table: 128 and more where another one counts."""
    cap = splat_bytes(_U8(112))
    return (
        add_capped(at, cap),
        add_capped(differ_bytes(at, splat_bytes(_U8(16))), cap),
        add_capped(differ_bytes(at, splat_bytes(_U8(32))), cap),
        add_capped(differ_bytes(at, splat_bytes(_U8(48))), cap),
    )


@njit(forceinline=True)
def _entries(table: Any, first: int, at: Any, few: bool) -> Any:
    """Of a table of 64, or of its first half alone."""
    lower = either_bytes(
        look_up(load_twice(table, first), at[0]), look_up(load_twice(table, first + 16), at[1])
    )
    if few:
        return lower
    upper = either_bytes(
        look_up(load_twice(table, first + 32), at[2]), look_up(load_twice(table, first + 48), at[3])
    )
    return either_bytes(lower, upper)


@njit(forceinline=True)
def _grown(highs: Any, lows: Any, frequencies: Any, places: Any, stream: Any, at: Any) -> Any:
    """Halves of states after a symbol of 16 times these slots; where the next word is."""
    carried = add(multiply_high(frequencies, both(lows, splat(_U16(0xF000)))), places)
    lower = add(multiply(frequencies, highs), carried)
    upper = multiply_high(frequencies, highs)
    upper = choose(below(lower, carried), add(upper, splat(_U16(1))), upper)
    short = equal(upper, splat(_U16(0)))
    highs = choose(short, lower, upper)
    lows = choose(short, spread(stream, at, short), lower)
    return highs, lows, at + 2 * count(short)


@njit(forceinline=True)
def _symbols(lower: Any, lane: int, table: Any, few: bool) -> Any:
    """Of 32 states: the symbols as packed bytes, and which of its slots each stands for."""
    l0, l1 = load(lower, lane), load(lower, lane + WIDTH)
    six = splat(_U16(63))
    buckets = pack(
        both(shift_down(l0, splat(_U16(6))), six), both(shift_down(l1, splat(_U16(6))), six)
    )
    p0, p1 = both(l0, six), both(l1, six)
    at = _indexes(buckets)
    owned = below_bytes(pack(p0, p1), _entries(table, _OWNS, at, few))
    symbols = choose_bytes(owned, buckets, _entries(table, _PARTNERS, at, False))
    nothing = splat_bytes(_U8(0))
    low = choose_bytes(owned, nothing, _entries(table, _ONWARD, at, False))
    high = choose_bytes(owned, nothing, _entries(table, _ONWARD + FEW, at, False))
    return symbols, add(p0, unpack_first(low, high)), add(p1, unpack_second(low, high))


@njit(forceinline=True)
def _advance(
    upper: Any, lower: Any, lane: int, found: Any, table: Any, stream: Any, at: Any, few: bool
) -> Any:
    """Store what 32 states become; the packed bytes of their symbols, and the next word's place."""
    by_symbol = _indexes(found[0])
    low = _entries(table, _SHARES, by_symbol, few)
    high = _entries(table, _SHARES + FEW, by_symbol, few)
    h0, h1 = load(upper, lane), load(upper, lane + WIDTH)
    l0, l1 = load(lower, lane), load(lower, lane + WIDTH)
    h0, l0, at = _grown(h0, l0, unpack_first(low, high), found[1], stream, at)
    h1, l1, at = _grown(h1, l1, unpack_second(low, high), found[2], stream, at)
    store(upper, lane, h0)
    store(upper, lane + WIDTH, h1)
    store(lower, lane, l0)
    store(lower, lane + WIDTH, l1)
    return _entries(table, _SYMBOLS, by_symbol, few), at


@njit(forceinline=True)
def _word16(exponents: Any, seconds: Any, i: Any) -> Any:
    """The upper two bytes of words: an exponent, with a sign and seven bits of mantissa."""
    low = both(load_signed_bytes(seconds, i), splat(_U16(0x807F)))
    return either(shift_down(exponents, splat(_U16(1))), low)


@njit(forceinline=True)
def _put16(exponents: Any, p1: Any, i: Any, out: Any) -> None:
    nothing = splat_bytes(_U8(0))
    store(out, 2 * i, _word16(unpack_first(nothing, exponents), p1, i))
    second = _word16(unpack_second(nothing, exponents), p1, i + WIDTH)
    store(out, 2 * i + 2 * WIDTH, second)


@njit(forceinline=True)
def _rows16(
    stream: Any, at: int, end: int, upper: Any, lower: Any, table: Any, p1: Any, out: Any, few: bool
) -> int:
    for i in range(0, p1.size - LANES + 1, LANES):
        f0 = _symbols(lower, 0, table, few)
        f1 = _symbols(lower, 32, table, few)
        e0, at = _advance(upper, lower, 0, f0, table, stream, at, few)
        f2 = _symbols(lower, 64, table, few)
        e1, at = _advance(upper, lower, 32, f1, table, stream, at, few)
        f3 = _symbols(lower, 96, table, few)
        e2, at = _advance(upper, lower, 64, f2, table, stream, at, few)
        _put16(e0, p1, i, out)
        _put16(e1, p1, i + 32, out)
        e3, at = _advance(upper, lower, 96, f3, table, stream, at, few)
        _put16(e2, p1, i + 64, out)
        _put16(e3, p1, i + 96, out)
        if at > end:
            return -1
    return at


@njit(forceinline=True)
def _is_few(table: Any) -> bool:
    """Whether no symbol is beyond the 32nd, so that nothing in the second half of tables counts."""
    beyond = 0
    for j in range(FEW):
        beyond |= table[_PARTNERS + j] & 32
    for j in range(32, FEW):
        beyond |= table[_OWNS + j]
    return beyond == 0


@njit(types.int64(*_stream, _in8, _u8), nogil=True, cache=True)
def merge16(stream: Any, at: int, end: int, states: Any, tables: Any, p1: Any, out: Any) -> int:
    """As ``codec.plane.registers.merge16``."""
    table = _bytes_of(tables)
    upper, lower = halves_of(states)
    if _is_few(table):
        at = _rows16(stream, at, end, upper, lower, table, p1, out, True)
    else:
        at = _rows16(stream, at, end, upper, lower, table, p1, out, False)
    join_halves(upper, lower, states)
    return at


@njit(forceinline=True)
def _half_put32(exponents: Any, p1: Any, p2: Any, p3: Any, i: Any, out: Any) -> None:
    upper = _word16(exponents, p1, i)
    lower = either(shift_up(load_bytes(p2, i), splat(_U16(8))), load_bytes(p3, i))
    store(out, 4 * i, zip_lower(lower, upper))
    store(out, 4 * i + 2 * WIDTH, zip_upper(lower, upper))


@njit(forceinline=True)
def _put32(exponents: Any, p1: Any, p2: Any, p3: Any, i: Any, out: Any) -> None:
    nothing = splat_bytes(_U8(0))
    _half_put32(unpack_first(nothing, exponents), p1, p2, p3, i, out)
    _half_put32(unpack_second(nothing, exponents), p1, p2, p3, i + WIDTH, out)


@njit(forceinline=True)
def _rows32(
    stream: Any,
    at: int,
    end: int,
    upper: Any,
    lower: Any,
    table: Any,
    p1: Any,
    p2: Any,
    p3: Any,
    out: Any,
    few: bool,
) -> int:
    for i in range(0, p1.size - LANES + 1, LANES):
        f0 = _symbols(lower, 0, table, few)
        f1 = _symbols(lower, 32, table, few)
        e0, at = _advance(upper, lower, 0, f0, table, stream, at, few)
        f2 = _symbols(lower, 64, table, few)
        e1, at = _advance(upper, lower, 32, f1, table, stream, at, few)
        f3 = _symbols(lower, 96, table, few)
        e2, at = _advance(upper, lower, 64, f2, table, stream, at, few)
        _put32(e0, p1, p2, p3, i, out)
        _put32(e1, p1, p2, p3, i + 32, out)
        e3, at = _advance(upper, lower, 96, f3, table, stream, at, few)
        _put32(e2, p1, p2, p3, i + 64, out)
        _put32(e3, p1, p2, p3, i + 96, out)
        if at > end:
            return -1
    return at


@njit(types.int64(*_stream, _in8, _in8, _in8, _u8), nogil=True, cache=True)
def merge32(
    stream: Any,
    at: int,
    end: int,
    states: Any,
    tables: Any,
    p1: Any,
    p2: Any,
    p3: Any,
    out: Any,
) -> int:
    """As ``codec.plane.registers.merge32``."""
    table = _bytes_of(tables)
    upper, lower = halves_of(states)
    if _is_few(table):
        at = _rows32(stream, at, end, upper, lower, table, p1, p2, p3, out, True)
    else:
        at = _rows32(stream, at, end, upper, lower, table, p1, p2, p3, out, False)
    join_halves(upper, lower, states)
    return at


MERGE: Final[dict[int, Any]] = {2: merge16, 4: merge32}
"""By word width."""
