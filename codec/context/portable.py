"""Decoding CTX on any processor, in passes over a group, eight words of 16 bits at a time.

All contexts of 256 words, then states (``codec.context.states``), then raw bytes, then all words:
only the middle two depend on what came before. ``tests/codec/context/naive.py`` says in plain
Python what comes of it. Readers of streams may run past an end as far as there is room behind it,
which ``codec.context.block`` sees to, and say so.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.context.alphabet import MARK, STILL
from codec.context.kernels import GROUP, UNCHANGED, context_of, ordered
from codec.context.states import put_together, take_symbols, taken_apart
from codec.machine import eights
from codec.machine.compiling import njit
from codec.machine.vectors32 import pointer_to

AHEAD: Final = 2 * GROUP + 64
"""Bytes of words that a group may read, and vectors beyond it."""

_U16, _U32, _I32, _U64 = np.uint16, np.uint32, np.int32, np.uint64
_ZERO, _ONE = _U32(0), _U32(1)
_RAISED: Final = 0x0200
"""The bit of values with raw bytes."""
_group: Any = eights.stack_of(GROUP)
_u8, _u16, _u32, _i64 = (
    types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)
_in8, _in16, _in32, _in64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64)
)


def compiled(slots: Any, word: Any, out: Any, *more: Any) -> Any:
    """Compiles for a block's streams, tables, base and words, a start, and the shape of a float."""
    streams = (_in8, types.int64, types.int64, _in8, _in64, _i64, _u32, _in8, slots)
    shape = (types.uint32, types.uint32, types.int32, types.uint32, *more)
    return njit(types.int64(*streams, word, out, types.int64, *shape), nogil=True, cache=True)


def compiled_whole(slots: Any, word: Any, out: Any, *more: Any) -> Any:
    """Compiles as :func:`compiled`, with room for the last words instead of their limits."""
    streams = (_in8, _u8, _in8, _in64, _i64, _u32, _in8, slots)
    shape = (types.uint32, types.uint32, types.int32, types.uint32, *more)
    return njit(types.boolean(*streams, word, out, types.int64, *shape), nogil=True, cache=True)


@njit(inline="always")
def in_two(
    kernel: Any, stored: Any, room: Any, ends: Any, cursors: Any, start: int, stop: int, rest: Any
) -> bool:
    """Run a kernel over a block, then over what is left once a group might read past its words."""
    raws, states, scales, slots, base, out, shape = rest
    streams = raws, ends, cursors, states, scales, slots, base, out
    safe, end = stored.size - AHEAD, ends[0]
    start = kernel(stored, safe, end, *streams, start, *shape)
    if 0 <= start < stop:
        moved = cursors[0]
        for k in range(end - moved):
            room[_U64(k)] = stored[_U64(moved + k)]
        cursors[0] = 0
        start = kernel(room, room.size - AHEAD, end - moved, *streams, start, *shape)
        cursors[0] += moved
    return start == stop


@njit(inline="always")
def _find_contexts16(under: Any, shape: Any, scale: Any, places: Any) -> None:
    """Where in the table the context of each word begins; in 16 bits throughout."""
    mantissa, exponents, lift = shape
    above = np.int64(lift) - np.int64(scale)
    up = eights.splat(_U16(min(max(above, 0), 16) << mantissa))
    down = eights.splat(_U16(min(max(-above, 0), 0xFFFF >> mantissa) << mantissa))
    field, highest = eights.splat(_U16(exponents << mantissa)), eights.splat(_U16(15 << mantissa))
    factor = eights.splat(_U16(1 << (11 - mantissa)))
    for i in range(0, GROUP, eights.LANES):
        exponent = eights.both(eights.load(under, i), field)
        raised = eights.add_capped(eights.subtract_floored(exponent, down), up)
        eights.store(places, i, eights.multiply(eights.smaller(raised, highest), factor))


@njit(inline="always")
def _find_contexts32(
    below: Any, start: int, length: int, shape: Any, scale: Any, places: Any
) -> None:
    mantissa, exponents, lift = shape
    for i in range(length):
        context = context_of(
            below[_U64(start) + _U64(i)], mantissa, exponents, _I32(lift - _I32(scale))
        )
        places[i] = _U16(context << _U32(11))


@njit(inline="always")
def _take_raws16(values: Any, raws: Any, first: int, second: int) -> Any:
    """Replace names of differences by the steps that they make with their raw bytes.

    Returns where both streams of raw bytes go on.
    """
    raised, whole = eights.splat(_U16(_RAISED)), eights.splat(_U16(1023))
    for i in range(0, GROUP, eights.LANES):
        value = eights.load(values, i)
        some = eights.both(value, raised)
        if not eights.is_any(some):
            continue
        some = eights.equal(some, raised)
        lower, taken = eights.spread_bytes(raws, first, some)
        first += taken
        z = eights.differ(eights.swap_bytes(value), lower)
        both = eights.equal(value, whole)
        if eights.is_any(both):
            upper, taken = eights.spread_bytes(raws, second, both)
            second += taken
            upper = eights.shift_up(upper, eights.splat(_U16(8)))
            lower = eights.differ(lower, eights.splat(_U16(MARK)))
            z = eights.choose(both, eights.either(upper, lower), z)
        odd = eights.subtract(eights.splat(_U16(0)), eights.both(z, eights.splat(_U16(1))))
        step = eights.differ(eights.shift_down(z, eights.splat(_U16(1))), odd)
        step = eights.add(step, eights.splat(_U16(STILL)))
        eights.store(values, i, eights.choose(some, step, value))
    return first, second


@njit(inline="always")
def _take_raws32(symbols: Any, length: int, raws: Any, cursors: Any, differences: Any) -> None:
    """The differences that symbols make with their raw bytes."""
    c0, c1 = _U64(cursors[1]), _U64(cursors[2])
    c2, c3 = _U64(cursors[3]), _U64(cursors[4])
    for i in range(length):
        symbol = _U32(symbols[i])
        taken = _U32(_U32(symbol >> _U32(8)) + _U32(symbol == _U32(1023)))
        one, two, three = _U32(taken > 0), _U32(taken > 1), _U32(taken > 2)
        z = _U32(_U32(symbol & _U32(255)) << _U32(_U32(taken & _U32(3)) << _U32(3)))
        if taken == _U32(4):
            z = _U32(_U32(raws[c3]) << _U32(24))
            c3 += _U64(1)
        z |= _U32(_U32(raws[c0]) & _U32(_ZERO - one))
        z |= _U32(_U32(_U32(raws[c1]) & _U32(_ZERO - two)) << _U32(8))
        z |= _U32(_U32(_U32(raws[c2]) & _U32(_ZERO - three)) << _U32(16))
        differences[i] = z
        c0, c1, c2 = c0 + _U64(one), c1 + _U64(two), c2 + _U64(three)
    cursors[1], cursors[2] = np.int64(c0), np.int64(c1)
    cursors[3], cursors[4] = np.int64(c2), np.int64(c3)


@njit(inline="always")
def _ordered16(words: Any) -> Any:
    return eights.differ(words, eights.both(eights.repeat_top(words), eights.splat(_U16(0x7FFF))))


@njit(inline="always")
def _restore16(values: Any, under: Any, turn: Any, over: Any) -> None:
    """The words of steps and their base; ``turn`` is that of the alphabet."""
    still, top = eights.splat(_U16(STILL)), eights.splat(_U16(0x8000))
    for i in range(0, GROUP, eights.LANES):
        below, step = eights.load(under, i), eights.subtract(eights.load(values, i), still)
        if turn:
            place = eights.add(eights.both(below, eights.splat(_U16(0x7FFF))), step)
            word = eights.differ(_ordered16(place), eights.both(below, top))
        else:
            word = _ordered16(eights.add(_ordered16(below), step))
        eights.store(over, i, word)


@njit(inline="always")
def _restore32(differences: Any, length: int, below: Any, start: int, out: Any) -> None:
    for i in range(length):
        z = differences[i]
        step = _U32(_U32(z >> _ONE) ^ _U32(_ZERO - _U32(z & _ONE)))
        at = _U64(start) + _U64(i)
        place = _U32(ordered(below[at], _U32(31)) + step)
        out[at] = ordered(place, _U32(31))


@njit(inline="always")
def _copy(under: Any, length: int, over: Any) -> None:
    for i in range(length):
        over[i] = under[i]


@compiled(_in16, _in16, _u16, types.uint32)
def groups16(
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
    """Restore groups from word ``start`` on; where it stopped, −1 if a stream is too short.

    ``cursors`` and ``ends`` are places of words in ``stored``, and of each raw stream in ``raws``,
    of which 264 bytes behind each end must be readable. Words end at ``end``; no group is begun
    once they go on behind ``safe``. ``turn`` is that of the alphabet.
    """
    at, first, second = cursors[0], cursors[1], cursors[2]
    entries, words, bytes_ = pointer_to(slots, 0), pointer_to(stored, 0), pointer_to(raws, 0)
    values, rest = _group(0), _group(0)
    lower, upper = taken_apart(states)
    shape = np.int64(mantissa), np.int64(exponents), lift
    stopped = out.size
    for group in range(start, out.size, GROUP):
        length = min(GROUP, out.size - group)
        scale = scales[group // GROUP]
        if scale == UNCHANGED:
            _copy(pointer_to(base, group), length, pointer_to(out, group))
            continue
        if at > safe:
            stopped = group
            break
        under, over = pointer_to(base, group), pointer_to(out, group)
        if length < GROUP:
            _copy(under, length, rest)
            under, over = rest, rest
        _find_contexts16(under, shape, scale, values)
        at = take_symbols(values, length, entries, shift, lower, upper, words, at)
        for i in range(length, GROUP):
            values[i] = _U16(0)
        first, second = _take_raws16(values, bytes_, first, second)
        if at > end or first > ends[1] or second > ends[2]:
            return -1
        _restore16(values, under, _U16(turn), over)
        if length < GROUP:
            _copy(rest, length, pointer_to(out, group))
    put_together(lower, upper, states)
    cursors[0], cursors[1], cursors[2] = at, first, second
    return stopped


@compiled_whole(_in16, _in16, _u16, types.uint32)
def decode16(
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
    """Restore the words from ``start`` on, a multiple of 256; False if a stream is too short.

    As :func:`groups16`; ``room`` has 2,048 bytes.
    """
    rest = raws, states, scales, slots, base, out, (mantissa, exponents, lift, shift, turn)
    return in_two(groups16, stored, room, ends, cursors, start, out.size, rest)


@compiled(_in16, _in32, _u32)
def groups32(
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
    """As :func:`groups16`, for words of 32 bits."""
    at = cursors[0]
    entries, words = pointer_to(slots, 0), pointer_to(stored, 0)
    symbols, differences = _group(0), np.empty(GROUP, np.uint32)
    lower, upper = taken_apart(states)
    shape = mantissa, exponents, lift
    for first in range(start, out.size, GROUP):
        length = min(GROUP, out.size - first)
        scale = scales[first // GROUP]
        if scale == UNCHANGED:
            _copy(pointer_to(base, first), length, pointer_to(out, first))
            continue
        if at > safe:
            cursors[0] = at
            put_together(lower, upper, states)
            return first
        _find_contexts32(base, first, length, shape, scale, symbols)
        at = take_symbols(symbols, length, entries, shift, lower, upper, words, at)
        _take_raws32(symbols, length, raws, cursors, differences)
        for k in range(1, 5):
            if at > end or cursors[k] > ends[k]:
                return -1
        _restore32(differences, length, base, first, out)
    cursors[0] = at
    put_together(lower, upper, states)
    return out.size


@compiled_whole(_in16, _in32, _u32)
def decode32(
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
    """As :func:`decode16`, for words of 32 bits."""
    rest = raws, states, scales, slots, base, out, (mantissa, exponents, lift, shift)
    return in_two(groups32, stored, room, ends, cursors, start, out.size, rest)
