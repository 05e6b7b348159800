"""Decoding CTX of 16-bit words, 64 at a time; the same bytes as ``codec.context.portable``.

Imported only where ``codec.machine.instructions`` finds vectors. All is done in one pass: context
from the base, table entry, next state, raw bytes, difference, word. Beside the table look-ups, the
number of operations on registers is what costs; so words stay in 16 bits, two registers' worth in
one, wherever they can: context, symbol and difference. Only states and table entries need 32.
"""

from typing import Any

import numpy as np
from numba import types

from codec.context import vectors as pair
from codec.context.alphabet import MARK
from codec.context.kernels import GROUP, UNCHANGED
from codec.context.portable import compiled, compiled_whole, in_two
from codec.context.wide32 import next_states
from codec.machine import vectors16 as half
from codec.machine import vectors32 as full
from codec.machine.compiling import njit

_U16: Any = np.uint16
_U32: Any = np.uint32
_LANES = 32
_HIGHEST = 15
_u8, _u16, _u32, _i64 = (
    types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)
_in8, _in16, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)


@njit(inline="always")
def _bounds(scale: Any, mantissa: Any, lift: Any) -> Any:
    """What to add to an exponent in its place, and what to take off, for its context there."""
    above = np.int64(lift) - np.int64(scale)
    up = min(max(above, 0), _HIGHEST + 1) << np.int64(mantissa)
    down = min(max(-above, 0), 0xFFFF >> np.int64(mantissa)) << np.int64(mantissa)
    return half.splat(_U16(up)), half.splat(_U16(down))


@njit(inline="always")
def _contexts(under: Any, shape: Any, up: Any, down: Any) -> Any:
    """Where in the table the contexts of 32 base words begin."""
    exponents, highest, factor = shape
    above = pair.add_capped(pair.subtract_floored(half.both(under, exponents), down), up)
    return half.multiply(pair.smaller(above, highest), factor)


@njit(inline="always")
def _entries(states: Any, contexts: Any, slots: Any, shift: Any) -> Any:
    places = full.either(full.both(states, full.splat(_U32(2047))), contexts)
    return full.gather(slots, 0, full.shift_down(places, full.splat(shift)))


@njit(inline="always")
def _joined(symbols: Any, raws: Any, first: Any) -> Any:
    """Differences of 32 symbols with at most one raw byte each, those bytes, and what follows."""
    some = pair.beyond(symbols, half.splat(_U16(511)))
    lower = pair.spread_bytes(raws, first, some)
    known = half.choose(some, pair.swap_bytes(symbols), symbols)
    return pair.differ(known, lower), lower, first + half.count(some)


@njit(inline="always")
def _escaped(symbols: Any, joined: Any, lower: Any, raws: Any, second: Any) -> Any:
    """Differences where some are all raw."""
    both = half.equal(symbols, half.splat(_U16(1023)))
    upper = half.shift_up(pair.spread_bytes(raws, second, both), half.splat(_U16(8)))
    whole = half.either(upper, pair.differ(lower, half.splat(_U16(MARK))))
    return half.choose(both, whole, joined), second + half.count(both)


@njit(inline="always")
def _ordered(words: Any) -> Any:
    return pair.differ(words, half.both(pair.repeat_top(words), half.splat(_U16(0x7FFF))))


@njit(inline="always")
def _restored(z: Any, under: Any, turn: Any) -> Any:
    odd = pair.subtract(half.splat(_U16(0)), half.both(z, half.splat(_U16(1))))
    step = pair.differ(half.shift_down(z, half.splat(_U16(1))), odd)
    if turn:
        place = half.add(half.both(under, half.splat(_U16(0x7FFF))), step)
        return pair.differ(_ordered(place), half.both(under, half.splat(_U16(0x8000))))
    return _ordered(half.add(_ordered(under), step))


@njit(inline="always")
def _copy(base: Any, out: Any, start: int) -> None:
    for i in range(start, start + GROUP, _LANES):
        half.store(out, i, half.load(base, i))


@compiled(_in16, _u16, types.uint32, types.uint32)
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
    turn: Any,
) -> int:
    """Restore whole groups from word ``start`` on; where it stopped, −1 if a stream is too short.

    As :func:`codec.context.portable.groups16`, and 48 bytes more of raw streams must be readable.
    ``slots`` and ``shift`` are what :func:`codec.context.slots.dense_slots` says, ``turn`` is that
    of the alphabet.
    """
    x0, x1 = full.load(states, 0), full.load(states, 16)
    x2, x3 = full.load(states, 32), full.load(states, 48)
    at, first, second = cursors[0], cursors[1], cursors[2]
    stopped = out.size - out.size % GROUP
    shape = (
        half.splat(_U16(exponents << mantissa)),
        half.splat(_U16(_U32(_HIGHEST) << mantissa)),
        half.splat(_U16(_U32(1) << _U32(_U32(11) - mantissa))),
    )
    for first_word in range(start, stopped, GROUP):
        scale = scales[first_word // GROUP]
        if scale == UNCHANGED:
            _copy(base, out, first_word)
            continue
        if at > safe:
            stopped = first_word
            break
        up, down = _bounds(scale, mantissa, lift)
        for i in range(first_word, first_word + GROUP, 2 * _LANES):
            b0, b1 = half.load(base, i), half.load(base, i + _LANES)
            c0, c1 = _contexts(b0, shape, up, down), _contexts(b1, shape, up, down)
            t0 = _entries(x0, pair.widen_lower(c0), slots, shift)
            t1 = _entries(x1, pair.widen_upper(c0), slots, shift)
            t2 = _entries(x2, pair.widen_lower(c1), slots, shift)
            t3 = _entries(x3, pair.widen_upper(c1), slots, shift)
            y0 = half.both(pair.narrow(t0, t1), half.splat(_U16(1023)))
            y1 = half.both(pair.narrow(t2, t3), half.splat(_U16(1023)))
            z0, r0, first = _joined(y0, raws, first)
            z1, r1, first = _joined(y1, raws, first)
            if pair.is_any(half.equal(pair.larger(y0, y1), half.splat(_U16(1023)))):
                z0, second = _escaped(y0, z0, r0, raws, second)
                z1, second = _escaped(y1, z1, r1, raws, second)
            half.store(out, i, _restored(z0, b0, turn))
            half.store(out, i + _LANES, _restored(z1, b1, turn))
            x0, at = next_states(x0, t0, stored, at, shift)
            x1, at = next_states(x1, t1, stored, at, shift)
            x2, at = next_states(x2, t2, stored, at, shift)
            x3, at = next_states(x3, t3, stored, at, shift)
        if at > end or first > ends[1] or second > ends[2]:
            return -1
    full.store(states, 0, x0)
    full.store(states, 16, x1)
    full.store(states, 32, x2)
    full.store(states, 48, x3)
    cursors[0], cursors[1], cursors[2] = at, first, second
    return stopped


@compiled_whole(_in16, _u16, types.uint32, types.uint32)
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
    turn: Any,
) -> bool:
    """Restore all whole groups from ``start`` on; False if a stream is too short."""
    rest = raws, states, scales, slots, base, out, (mantissa, exponents, lift, shift, turn)
    whole = out.size - out.size % GROUP
    return in_two(groups, stored, room, ends, cursors, start, whole, rest)
