"""Decoding planes of up to 64 symbols, with all tables in registers, into the words of a tensor.

For AVX-512 with word shuffles, which find a table entry for 32 lanes at once where a gather takes
one lane after the other. States are kept as two vectors of upper and lower halves: a state below
2^16 is one with nothing in its upper half. Exponents never become a plane: each goes straight to
its place in a word, with the planes below it. Imported anywhere, compiled only where it can run.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import types

from codec.machine.compiling import njit
from codec.machine.instructions import has_word_shuffles
from codec.machine.vectors16 import LANES as WIDTH
from codec.machine.vectors16 import (
    add,
    below,
    both,
    choose,
    count,
    either,
    equal,
    load,
    load_bytes,
    load_signed_bytes,
    lookup,
    multiply,
    multiply_high,
    shift_down,
    shift_up,
    splat,
    spread,
    store,
    zip_lower,
    zip_upper,
)
from codec.plane.kernels import FEW, LANES, halves_of, join_halves

_U16: Any = np.uint16
_u8, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint32))
_in8, _in16 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint16))


def _kernel(*planes: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiles for a stream, its two ends, its states and tables, ``planes`` and what is made."""
    if not has_word_shuffles():
        return lambda function: function
    stream = (_in8, types.int64, types.int64, _u32, _in16)
    return njit(types.int64(*stream, *planes, _u8), nogil=True, cache=True)


@njit(inline="always")
def _tables(tables: Any) -> Any:
    """The four tables of ``kernels.fill_registers``, each in two registers."""
    return (
        load(tables, 0),
        load(tables, WIDTH),
        load(tables, FEW),
        load(tables, FEW + WIDTH),
        load(tables, 2 * FEW),
        load(tables, 2 * FEW + WIDTH),
        load(tables, 3 * FEW),
        load(tables, 3 * FEW + WIDTH),
    )


@njit(inline="always")
def _step(highs: Any, lows: Any, tables: Any, stream: Any, at: Any) -> Any:
    """States after a symbol each, those symbols shifted to their place, and the next word's."""
    buckets = shift_down(lows, splat(_U16(6)))
    shares = lookup(tables[0], buckets, tables[1])
    owned = below(either(shift_up(lows, splat(_U16(10))), splat(_U16(1023))), shares)
    symbols = choose(owned, buckets, shares)
    onward = choose(owned, splat(_U16(0)), lookup(tables[2], buckets, tables[3]))
    places = add(both(lows, splat(_U16(63))), onward)
    frequencies = lookup(tables[4], symbols, tables[5])
    carried = add(multiply_high(frequencies, both(lows, splat(_U16(0xF000)))), places)
    lower = add(multiply(frequencies, highs), carried)
    upper = multiply_high(frequencies, highs)
    upper = choose(below(lower, carried), add(upper, splat(_U16(1))), upper)
    short = equal(upper, splat(_U16(0)))
    highs = choose(short, lower, upper)
    lows = choose(short, spread(stream, at, short), lower)
    return highs, lows, lookup(tables[6], symbols, tables[7]), at + 2 * count(short)


@njit(inline="always")
def _store_halves(halves: Any, v0: Any, v1: Any, v2: Any, v3: Any) -> None:
    store(halves, 0, v0)
    store(halves, 32, v1)
    store(halves, 64, v2)
    store(halves, 96, v3)


@njit(inline="always")
def _word16(exponents: Any, seconds: Any, i: Any) -> Any:
    """The upper two bytes of words: an exponent, with a sign and seven bits of mantissa."""
    return either(exponents, both(load_signed_bytes(seconds, i), splat(_U16(0x807F))))


@njit(inline="always")
def _put32(exponents: Any, p1: Any, p2: Any, p3: Any, i: Any, out: Any) -> None:
    upper = _word16(exponents, p1, i)
    lower = either(shift_up(load_bytes(p2, i), splat(_U16(8))), load_bytes(p3, i))
    store(out, 4 * i, zip_lower(lower, upper))
    store(out, 4 * i + 2 * WIDTH, zip_upper(lower, upper))


@_kernel(_in8)
def merge16(stream: Any, at: int, end: int, states: Any, tables: Any, p1: Any, out: Any) -> int:
    """Words of 16 bits from exponents and one plane, for whole rows of 128; where words end.

    As ``kernels.decode``: words of the stream begin at byte ``at``, and −1 says that there
    are more than end at ``end``. ``out`` may stand anywhere.
    """
    t = _tables(tables)
    upper, lower = halves_of(states)
    h0, h1, h2, h3 = load(upper, 0), load(upper, 32), load(upper, 64), load(upper, 96)
    l0, l1, l2, l3 = load(lower, 0), load(lower, 32), load(lower, 64), load(lower, 96)
    for i in range(0, p1.size - LANES + 1, LANES):
        h0, l0, e0, at = _step(h0, l0, t, stream, at)
        h1, l1, e1, at = _step(h1, l1, t, stream, at)
        h2, l2, e2, at = _step(h2, l2, t, stream, at)
        h3, l3, e3, at = _step(h3, l3, t, stream, at)
        store(out, 2 * i, _word16(e0, p1, i))
        store(out, 2 * i + 64, _word16(e1, p1, i + 32))
        store(out, 2 * i + 128, _word16(e2, p1, i + 64))
        store(out, 2 * i + 192, _word16(e3, p1, i + 96))
        if at > end:
            return -1
    _store_halves(upper, h0, h1, h2, h3)
    _store_halves(lower, l0, l1, l2, l3)
    join_halves(upper, lower, states)
    return at


@_kernel(_in8, _in8, _in8)
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
    """Words of 32 bits from exponents and three planes; as :func:`merge16`."""
    t = _tables(tables)
    upper, lower = halves_of(states)
    h0, h1, h2, h3 = load(upper, 0), load(upper, 32), load(upper, 64), load(upper, 96)
    l0, l1, l2, l3 = load(lower, 0), load(lower, 32), load(lower, 64), load(lower, 96)
    for i in range(0, p1.size - LANES + 1, LANES):
        h0, l0, e0, at = _step(h0, l0, t, stream, at)
        h1, l1, e1, at = _step(h1, l1, t, stream, at)
        h2, l2, e2, at = _step(h2, l2, t, stream, at)
        h3, l3, e3, at = _step(h3, l3, t, stream, at)
        _put32(e0, p1, p2, p3, i, out)
        _put32(e1, p1, p2, p3, i + 32, out)
        _put32(e2, p1, p2, p3, i + 64, out)
        _put32(e3, p1, p2, p3, i + 96, out)
        if at > end:
            return -1
    _store_halves(upper, h0, h1, h2, h3)
    _store_halves(lower, l0, l1, l2, l3)
    join_halves(upper, lower, states)
    return at


MERGE: Final[dict[int, Any]] = {2: merge16, 4: merge32}
"""By word width."""
