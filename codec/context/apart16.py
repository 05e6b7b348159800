"""Decoding CTX of 16-bit words with the halves of states apart; otherwise as ``wide16``.

For AVX-512 with word shuffles and without a gather worth the name: Zen 4. There a step takes as
long as its chain of results, of which as much as possible must be under way at a time, so few
instructions count. Thirty-two states lie in two registers, upper and lower halves, where whole ones
take twice as many operations, and twice as many reads of the stream.
"""

from typing import Any

import numpy as np
from numba import types

from codec.context import vectors as pair
from codec.context.kernels import GROUP, UNCHANGED
from codec.context.portable import compiled, compiled_whole, in_two
from codec.context.words16 import (
    bounds,
    contexts,
    copy,
    escaped,
    has_escape,
    has_many,
    has_raw,
    joined,
    restored,
    shape_of,
)
from codec.machine import vectors16 as half
from codec.machine import vectors32 as full
from codec.machine.compiling import njit
from codec.machine.lookups import pick_lower, pick_upper
from codec.machine.vectors16 import LANES

_U16: Any = np.uint16
_u8, _u16, _u32, _i64 = (
    types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)
_in8, _in16, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)


@njit(inline="always")
def _step(highs: Any, lows: Any, chosen: Any, slots: Any, stored: Any, at: Any, shift: Any) -> Any:
    """States after a symbol each, those symbols, and where the next word of the stream is."""
    slot = half.both(lows, half.splat(_U16(2047)))
    places = half.shift_down(half.either(slot, chosen), half.splat(_U16(shift)))
    first, second = pick_lower(slots, 0, places), pick_upper(slots, 0, places)
    entries, rest = pair.narrow(first, second), pair.narrow_upper(first, second)
    # 32 times as many slots as a symbol has, for the product with a state's upper 21 bits.
    shares = half.either(
        half.both(half.shift_down(entries, half.splat(_U16(5))), half.splat(_U16(0x07E0))),
        half.shift_up(rest, half.splat(_U16(11))),
    )
    between = half.both(lows, half.splat(_U16((1 << shift) - 1)))
    start = half.either(half.shift_down(rest, half.splat(_U16(5))), between)
    upper_bits = half.both(lows, half.splat(_U16(0xF800)))
    carried = half.add(half.multiply_high(shares, upper_bits), start)
    lower, upper = (
        half.add(half.multiply(shares, highs), carried),
        half.multiply_high(shares, highs),
    )
    beyond = half.below(lower, carried)
    short = half.without(half.equal(upper, half.splat(_U16(0))), beyond)
    upper = half.choose(beyond, half.add(upper, half.splat(_U16(1))), upper)
    highs = half.choose(short, lower, upper)
    lows = half.choose(short, half.spread(stored, at, short), lower)
    return highs, lows, half.both(entries, half.splat(_U16(1023))), at + 2 * half.count(short)


@compiled(_in32, _in16, _u16, types.uint32)
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
    """As :func:`codec.context.wide16.groups`."""
    x0, x1 = full.load(states, 0), full.load(states, 16)
    x2, x3 = full.load(states, 32), full.load(states, 48)
    h0, l0 = pair.narrow_upper(x0, x1), pair.narrow(x0, x1)
    h1, l1 = pair.narrow_upper(x2, x3), pair.narrow(x2, x3)
    at, first, second = cursors[0], cursors[1], cursors[2]
    often = has_many(ends[1] - first, out)
    stopped = out.size - out.size % GROUP
    full.align_stack(at)
    shape = shape_of(mantissa, exponents)
    for first_word in range(start, stopped, GROUP):
        scale = scales[first_word // GROUP]
        if scale == UNCHANGED:
            copy(base, out, first_word)
            continue
        if at > safe:
            stopped = first_word
            break
        up, down = bounds(scale, mantissa, lift)
        for i in range(first_word, first_word + GROUP, 2 * LANES):
            b0 = half.load(base, i)
            h0, l0, y0, at = _step(h0, l0, contexts(b0, shape, up, down), slots, stored, at, shift)
            b1 = half.load(base, i + LANES)
            h1, l1, y1, at = _step(h1, l1, contexts(b1, shape, up, down), slots, stored, at, shift)
            z0, z1 = y0, y1
            if often or has_raw(y0, y1):
                z0, r0, first = joined(y0, raws, first)
                z1, r1, first = joined(y1, raws, first)
                if has_escape(y0, y1):
                    z0, second = escaped(y0, z0, r0, raws, second)
                    z1, second = escaped(y1, z1, r1, raws, second)
            half.store(out, i, restored(z0, b0, turn))
            half.store(out, i + LANES, restored(z1, b1, turn))
        if at > end or first > ends[1] or second > ends[2]:
            return -1
    half.store(states, 0, half.zip_lower(l0, h0))
    half.store(states, 16, half.zip_upper(l0, h0))
    half.store(states, 32, half.zip_lower(l1, h1))
    half.store(states, 48, half.zip_upper(l1, h1))
    cursors[0], cursors[1], cursors[2] = at, first, second
    return stopped


@compiled_whole(_in32, _in16, _u16, types.uint32)
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
