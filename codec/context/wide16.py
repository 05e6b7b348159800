"""Decoding CTX of 16-bit words, 64 at a time; the same bytes as ``codec.context.portable``.

Imported only where ``codec.machine.instructions`` finds vectors. All is done in one pass: context
from the base, table entry, next state, raw bytes, difference, word. Beside the table look-ups, the
number of operations on registers is what costs; ``codec.context.words16`` says how they are saved.
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
from codec.machine.lookups import look_up
from codec.machine.vectors16 import LANES

_U32: Any = np.uint32
_u8, _u16, _u32, _i64 = (
    types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)
_in8, _in16, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)


@njit(inline="always")
def _entries(states: Any, contexts: Any, slots: Any, shift: Any) -> Any:
    places = full.either(full.both(states, full.splat(_U32(2047))), contexts)
    return look_up(slots, 0, full.shift_down(places, full.splat(shift)))


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
    """Restore whole groups from word ``start`` on; where it stopped, −1 if a stream is too short.

    As :func:`codec.context.portable.groups16`, and 48 bytes more of raw streams must be readable.
    ``slots`` and ``shift`` are what :func:`codec.context.slots.narrow_slots` says, ``turn`` is that
    of the alphabet.
    """
    x0, x1 = full.load(states, 0), full.load(states, 16)
    x2, x3 = full.load(states, 32), full.load(states, 48)
    at, first, second = cursors[0], cursors[1], cursors[2]
    often = has_many(ends[1] - first, out)
    stopped = out.size - out.size % GROUP
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
            b0, b1 = half.load(base, i), half.load(base, i + LANES)
            c0, c1 = contexts(b0, shape, up, down), contexts(b1, shape, up, down)
            t0 = _entries(x0, pair.widen_lower(c0), slots, shift)
            t1 = _entries(x1, pair.widen_upper(c0), slots, shift)
            t2 = _entries(x2, pair.widen_lower(c1), slots, shift)
            t3 = _entries(x3, pair.widen_upper(c1), slots, shift)
            y0 = symbols_of(t0, t1)
            y1 = symbols_of(t2, t3)
            z0, z1 = y0, y1
            if often or has_raw(y0, y1):
                z0, r0, first = joined(y0, raws, first)
                z1, r1, first = joined(y1, raws, first)
                if has_escape(y0, y1):
                    z0, second = escaped(y0, z0, r0, raws, second)
                    z1, second = escaped(y1, z1, r1, raws, second)
            half.store(out, i, restored(z0, b0, turn))
            half.store(out, i + LANES, restored(z1, b1, turn))
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
