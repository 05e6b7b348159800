"""Decoding CTX of 16-bit words without gathers and word shuffles; otherwise as ``wide16``.

For AVX2, with half as many registers of half the length: the states of one half of 64 words move on
before the other half is looked up. Places are made and taken out of registers in 16 bits.
"""

from typing import Any

import numpy as np
from numba import types

from codec.context import vectors as pair
from codec.context.kernels import GROUP, UNCHANGED
from codec.context.portable import compiled, compiled_whole, in_two
from codec.context.wide32 import next_states
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
    symbols_of,
)
from codec.machine import vectors16 as half
from codec.machine import vectors32 as full
from codec.machine.compiling import njit
from codec.machine.lookups import pick_lower, pick_upper
from codec.machine.vectors16 import LANES

_U16: Any = np.uint16
_U32: Any = np.uint32
_u8, _u16, _u32, _i64 = (
    types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)
_in8, _in16, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)


@njit(inline="always")
def _places(lower: Any, upper: Any, chosen: Any, shift: Any) -> Any:
    last = full.splat(_U32(2047))
    slots = pair.narrow(full.both(lower, last), full.both(upper, last))
    return half.shift_down(half.either(slots, chosen), half.splat(_U16(shift)))


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
            places = _places(x0, x1, contexts(b0, shape, up, down), shift)
            t0, t1 = pick_lower(slots, 0, places), pick_upper(slots, 0, places)
            y0 = symbols_of(t0, t1)
            x0, at = next_states(x0, t0, stored, at, shift)
            x1, at = next_states(x1, t1, stored, at, shift)
            b1 = half.load(base, i + LANES)
            places = _places(x2, x3, contexts(b1, shape, up, down), shift)
            t2, t3 = pick_lower(slots, 0, places), pick_upper(slots, 0, places)
            y1 = symbols_of(t2, t3)
            x2, at = next_states(x2, t2, stored, at, shift)
            x3, at = next_states(x3, t3, stored, at, shift)
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
    full.store(states, 0, x0)
    full.store(states, 16, x1)
    full.store(states, 32, x2)
    full.store(states, 48, x3)
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
