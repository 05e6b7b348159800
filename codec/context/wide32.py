"""Decoding CTX of 32-bit words, 64 at a time; the same bytes as ``codec.context.portable``.

Imported only where ``codec.machine.instructions`` finds vectors. All is done in one pass: context
from the base, table entry, next state, raw bytes, difference, word.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.context.kernels import GROUP, UNCHANGED
from codec.context.portable import compiled, compiled_whole, in_two
from codec.machine.compiling import njit
from codec.machine.lookups import look_up
from codec.machine.vectors32 import (
    LANES,
    add,
    align_stack,
    beyond,
    both,
    choose,
    count,
    differ,
    either,
    load,
    multiply,
    shift_down,
    shift_up,
    signed_below,
    splat,
    spread,
    spread_pairs,
    store,
    subtract,
)
from codec.machine.vectors32 import below as lower

_U32: Any = np.uint32
_STRIDE: Final = 4 * LANES
_u8, _u32, _i64 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint32, types.int64))
_in8, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint32, types.int64)
)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


def _signature(word: Any, out: Any) -> Any:
    streams = (_in8, _u8, _in8, _in64, _i64, _u32, _in8, _in32)
    shape = (types.uint32, types.uint32, types.int32)
    return types.boolean(*streams, word, out, *shape)


@njit(inline="always")
def _entries(states: Any, slots: Any, shift: Any, under: Any, shape: Any) -> Any:
    """Table entries for sixteen states, in the contexts that their base words give."""
    mantissa, mask, lift = shape
    context = add(both(shift_down(under, mantissa), mask), lift)
    context = choose(signed_below(context, splat(_U32(0))), splat(_U32(0)), context)
    context = choose(signed_below(splat(_U32(15)), context), splat(_U32(15)), context)
    places = either(both(states, splat(_U32(2047))), shift_up(context, splat(_U32(11))))
    return look_up(slots, 0, shift_down(places, splat(shift)))


@njit(inline="always")
def next_states(states: Any, entries: Any, words: Any, at: Any, shift: Any) -> Any:
    """States after their symbols, and the next word to read."""
    low = both(states, splat(_U32(_U32(_U32(1) << shift) - _U32(1))))
    frequencies = both(shift_down(entries, splat(_U32(10))), splat(_U32(2047)))
    grown = multiply(frequencies, shift_down(states, splat(_U32(11))))
    states = add(grown, either(shift_down(entries, splat(_U32(21))), low))
    short = lower(states, splat(_U32(1 << 16)))
    filled = either(shift_up(states, splat(_U32(16))), spread_pairs(words, at, short))
    return choose(short, filled, states), at + 2 * count(short)


@njit(inline="always")
def _wide(entries: Any, raws: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Differences of 32 bits, and where the four raw streams go on."""
    symbols = both(entries, splat(_U32(1023)))
    one = beyond(symbols, splat(_U32(255)))
    two = beyond(symbols, splat(_U32(511)))
    three = beyond(symbols, splat(_U32(767)))
    four = beyond(symbols, splat(_U32(1022)))
    tops = both(symbols, splat(_U32(255)))
    lows = choose(one, spread(raws, first, one), splat(_U32(0)))
    seconds = choose(two, spread(raws, second, two), splat(_U32(0)))
    lows = either(lows, shift_up(seconds, splat(_U32(8))))
    taken = count(three)
    if taken:
        thirds = choose(three, spread(raws, third, three), splat(_U32(0)))
        lows = either(lows, shift_up(thirds, splat(_U32(16))))
        third += taken
        taken = count(four)
        if taken:
            tops = choose(four, spread(raws, fourth, four), tops)
            fourth += taken
    z = either(shift_up(tops, both(shift_down(symbols, splat(_U32(5))), splat(_U32(24)))), lows)
    return z, first + count(one), second + count(two), third, fourth


@njit(inline="always")
def _ordered(words: Any, top: Any) -> Any:
    sign = subtract(splat(_U32(0)), shift_down(words, splat(top)))
    return differ(words, both(sign, splat(_U32(_U32(_U32(1) << top) - _U32(1)))))


@njit(inline="always")
def _restored(z: Any, under: Any, top: Any) -> Any:
    odd = subtract(splat(_U32(0)), both(z, splat(_U32(1))))
    place = add(_ordered(under, top), differ(shift_down(z, splat(_U32(1))), odd))
    full = _U32(_U32(_U32(_U32(_U32(1) << top) - _U32(1)) << _U32(1)) | _U32(1))
    return _ordered(both(place, splat(full)), top)


@njit(inline="always")
def _copy(base: Any, out: Any, start: int) -> None:
    for i in range(start, start + GROUP, LANES):
        store(out, i, load(base, i))


@compiled(_in32, _in32, _u32)
def groups(
    stored: Any,
    safe: int,
    end: int,
    raws: Any,
    ends: Any,
    cursors: Any,
    states: Any,
    scales: Any,
    slots: Any,
    base: Any,
    out: Any,
    start: int,
    mantissa: Any,
    exponents: Any,
    lift: Any,
    shift: Any,
) -> int:
    """Restore whole groups from word ``start`` on; where it stopped, −1 if a stream is too short.

    As :func:`codec.context.portable.groups32`, and 16 bytes more of raw streams must be readable.
    ``slots`` and ``shift`` are what :func:`codec.context.slots.narrow_slots` says.
    """
    x0, x1 = load(states, 0), load(states, 16)
    x2, x3 = load(states, 32), load(states, 48)
    at, first, second, third, fourth = cursors[0], cursors[1], cursors[2], cursors[3], cursors[4]
    stopped = out.size - out.size % GROUP
    align_stack(at)
    bits, mask, top = splat(mantissa), splat(exponents), _U32(31)
    for first_word in range(start, stopped, GROUP):
        scale = scales[first_word // GROUP]
        if scale == UNCHANGED:
            _copy(base, out, first_word)
            continue
        if at > safe:
            stopped = first_word
            break
        shape = bits, mask, splat(_U32(lift - np.int32(scale)))
        for i in range(first_word, first_word + GROUP, _STRIDE):
            b0, b1 = load(base, i), load(base, i + 16)
            b2, b3 = load(base, i + 32), load(base, i + 48)
            t0 = _entries(x0, slots, shift, b0, shape)
            t1 = _entries(x1, slots, shift, b1, shape)
            t2 = _entries(x2, slots, shift, b2, shape)
            t3 = _entries(x3, slots, shift, b3, shape)
            z0, first, second, third, fourth = _wide(t0, raws, first, second, third, fourth)
            z1, first, second, third, fourth = _wide(t1, raws, first, second, third, fourth)
            z2, first, second, third, fourth = _wide(t2, raws, first, second, third, fourth)
            z3, first, second, third, fourth = _wide(t3, raws, first, second, third, fourth)
            store(out, i, _restored(z0, b0, top))
            store(out, i + 16, _restored(z1, b1, top))
            store(out, i + 32, _restored(z2, b2, top))
            store(out, i + 48, _restored(z3, b3, top))
            x0, at = next_states(x0, t0, stored, at, shift)
            x1, at = next_states(x1, t1, stored, at, shift)
            x2, at = next_states(x2, t2, stored, at, shift)
            x3, at = next_states(x3, t3, stored, at, shift)
        spent = at > end or first > ends[1] or second > ends[2]
        if spent or third > ends[3] or fourth > ends[4]:
            return -1
    store(states, 0, x0)
    store(states, 16, x1)
    store(states, 32, x2)
    store(states, 48, x3)
    cursors[0], cursors[1], cursors[2] = at, first, second
    cursors[3], cursors[4] = third, fourth
    return stopped


@compiled_whole(_in32, _in32, _u32)
def decode(
    stored: Any,
    room: Any,
    raws: Any,
    ends: Any,
    cursors: Any,
    states: Any,
    scales: Any,
    slots: Any,
    base: Any,
    out: Any,
    start: int,
    mantissa: Any,
    exponents: Any,
    lift: Any,
    shift: Any,
) -> bool:
    """Restore all whole groups from ``start`` on; False if a stream is too short."""
    rest = raws, states, scales, slots, base, out, (mantissa, exponents, lift, shift)
    whole = out.size - out.size % GROUP
    return in_two(groups, stored, room, ends, cursors, start, whole, rest)
