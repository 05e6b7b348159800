"""Decoding CTX on any processor, in passes over a group that compilers can make the most of.

All contexts of 256 words, then the states one after the other, then raw bytes, then all words: only
the middle two depend on what came before. ``tests/codec/context/naive.py`` says in plain Python
what comes of it. Readers of streams may run past an end as far as there is room behind it, which
``codec.context.block`` sees to, and say so.
"""

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from codec.context.alphabet import MARK, STILL
from codec.context.kernels import GROUP, LANES, LOWEST_STATE, UNCHANGED, context_of, ordered
from codec.machine.compiling import njit

AHEAD: Final = 2 * GROUP + 64
"""Bytes of words that a group may read, and vectors beyond it."""

_U16, _I16, _U32, _I32, _U64 = np.uint16, np.int16, np.uint32, np.int32, np.uint64
_ZERO, _ONE, _ONE64, _MARK = _U32(0), _U32(1), _U64(1), _U32(MARK)
_RAISED = _U64(0x0200020002000200)
"""Of four symbols, the bits that those with raw bytes have."""
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
        for k in range(moved, end):
            room[k - moved] = stored[k]
        cursors[0] = 0
        start = kernel(room, room.size - AHEAD, end - moved, *streams, start, *shape)
        cursors[0] += moved
    return start == stop


@njit(inline="always")
def _find_contexts16(
    below: Any, start: int, length: int, shape: Any, scale: Any, places: Any
) -> None:
    """Where in the table the context of each word begins; in 16 bits throughout."""
    mantissa, exponents, lift = shape
    above = np.int64(lift) - np.int64(scale)
    up = _U16(min(max(above, 0), 16) << mantissa)
    down = _U16(min(max(-above, 0), 0xFFFF >> mantissa) << mantissa)
    field, highest = _U16(exponents << mantissa), _U16(15 << mantissa)
    factor = _U16(1 << (11 - mantissa))
    for i in range(length):
        exponent = _U16(below[_U64(start) + _U64(i)] & field)
        floored = _U16(_U16(max(exponent, down) - down) + up)
        places[i] = _U16(min(floored, highest) * factor)


@njit(inline="always")
def _find_contexts32(
    below: Any, start: int, length: int, shape: Any, scale: Any, places: Any
) -> None:
    mantissa, exponents, lift = shape
    for i in range(length):
        context = context_of(
            below[_U64(start) + _U64(i)], mantissa, exponents, _I32(lift - _I32(scale))
        )
        places[i] = _U32(context << _U32(11))


def _generate_choice(_typing: Any, _flag: Any, _a: Any, _b: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        chosen = builder.select(*arguments)
        chosen.set_metadata("unpredictable", builder.module.add_metadata([]))
        return chosen

    return types.uint32(types.boolean, types.uint32, types.uint32), generate


_choose: Any = intrinsic(_generate_choice)
"""``a if flag else b``, never as a branch: nobody can foretell which."""


@njit(inline="always")
def _take_symbol(symbols: Any, i: Any, lane: Any, taken: Any, more: Any) -> Any:
    """Replace the place of a context by the value found there; how many words are taken then."""
    slots, shift, states, stored, start = more
    state = states[lane]
    slot = _U32(state & _U32(2047))
    entry = _U64(_U64(_U32(_U32(symbols[i]) | slot) >> shift) << _U64(2))
    symbols[i] = slots[entry]
    grown = _U32(_U32(slots[entry + _U64(1)]) * _U32(state >> _U32(11)))
    state = _U32(_U32(grown + slot) - _U32(slots[entry + _U64(2)]))
    at = start + _U64(taken << _ONE64)
    word = _U32(_U32(stored[at]) | _U32(_U32(stored[at + _ONE64]) << _U32(8)))
    low = state < _U32(LOWEST_STATE)
    states[lane] = _choose(low, _U32(_U32(state << _U32(16)) | word), state)
    return taken + _U64(low)


@njit(inline="always")
def _take_symbols(
    symbols: Any, length: int, slots: Any, shift: Any, states: Any, stored: Any, at: Any
) -> Any:
    """Replace places of contexts by values, moving states on; how many words that took.

    Four to a turn of the loop, which saves a tenth.
    """
    more, last = (slots, shift, states, stored, at), _U64(LANES - 1)
    taken, fours = _U64(0), _U64(length - length % 4)
    for i in range(_U64(0), fours, _U64(4)):
        lane = _U64(i & last)
        taken = _take_symbol(symbols, i, lane, taken, more)
        taken = _take_symbol(symbols, i + _U64(1), lane + _U64(1), taken, more)
        taken = _take_symbol(symbols, i + _U64(2), lane + _U64(2), taken, more)
        taken = _take_symbol(symbols, i + _U64(3), lane + _U64(3), taken, more)
    for i in range(fours, _U64(length)):
        taken = _take_symbol(symbols, i, _U64(i & last), taken, more)
    return np.int64(taken)


@njit(inline="always")
def _take_raws16(values: Any, fours: Any, raws: Any, cursors: Any) -> None:
    """Replace names of differences by the steps that they make with their raw bytes.

    ``fours`` are the same values, four in a number, to pass over those without raw bytes.
    """
    first = _U64(cursors[1])
    for four in range(fours.size):
        if fours[four] & _RAISED == _U64(0):
            continue
        for i in range(_U64(4 * four), _U64(4 * four + 4)):
            value = _U32(values[i])
            some = _U32(value >> _U32(9))
            z = _U16(_U32(_U32(value << _U32(8)) | _U32(value >> _U32(8))) ^ _U32(raws[first]))
            if value == _U32(1023):
                z = _U16(_U32(_U32(raws[cursors[2]]) << _U32(8)) | _U32(_U32(raws[first]) ^ _MARK))
                cursors[2] += 1
            step = _U16(_U16(z >> _U16(1)) ^ _U16(_U16(0) - _U16(z & _U16(1))))
            values[i] = _choose(some != _ZERO, _U32(_U16(step + _U16(STILL))), value)
            first += _U64(some)
    cursors[1] = np.int64(first)


@njit(inline="always")
def _take_raws32(symbols: Any, length: int, raws: Any, cursors: Any) -> None:
    """Replace symbols by the differences that they make with their raw bytes."""
    c0, c1 = _U64(cursors[1]), _U64(cursors[2])
    c2, c3 = _U64(cursors[3]), _U64(cursors[4])
    for i in range(length):
        symbol = symbols[i]
        taken = _U32(_U32(symbol >> _U32(8)) + _U32(symbol == _U32(1023)))
        one, two, three = _U32(taken > 0), _U32(taken > 1), _U32(taken > 2)
        z = _U32(_U32(symbol & _U32(255)) << _U32(_U32(taken & _U32(3)) << _U32(3)))
        if taken == _U32(4):
            z = _U32(_U32(raws[c3]) << _U32(24))
            c3 += _U64(1)
        z |= _U32(_U32(raws[c0]) & _U32(_ZERO - one))
        z |= _U32(_U32(_U32(raws[c1]) & _U32(_ZERO - two)) << _U32(8))
        z |= _U32(_U32(_U32(raws[c2]) & _U32(_ZERO - three)) << _U32(16))
        symbols[i] = z
        c0, c1, c2 = c0 + _U64(one), c1 + _U64(two), c2 + _U64(three)
    cursors[1], cursors[2] = np.int64(c0), np.int64(c1)
    cursors[3], cursors[4] = np.int64(c2), np.int64(c3)


@njit(inline="always")
def _ordered16(word: Any) -> Any:
    return _U16(word ^ _U16(_U16(_I16(word) >> _I16(15)) & _U16(0x7FFF)))


@njit(inline="always")
def _restore16(values: Any, length: int, below: Any, start: int, turn: Any, out: Any) -> None:
    """The words of steps and their base; ``turn`` is that of the alphabet."""
    still = _U16(STILL)
    if turn:
        for i in range(length):
            under = below[_U64(start) + _U64(i)]
            place = _U16(_U16(_U16(under & _U16(0x7FFF)) - still) + values[i])
            out[_U64(start) + _U64(i)] = _U16(_ordered16(place) ^ _U16(under & _U16(0x8000)))
        return
    for i in range(length):
        under = below[_U64(start) + _U64(i)]
        place = _U16(_U16(_ordered16(under) - still) + values[i])
        out[_U64(start) + _U64(i)] = _ordered16(place)


@njit(inline="always")
def _restore32(differences: Any, length: int, below: Any, start: int, out: Any) -> None:
    for i in range(length):
        z = differences[i]
        step = _U32(_U32(z >> _ONE) ^ _U32(_ZERO - _U32(z & _ONE)))
        at = _U64(start) + _U64(i)
        place = _U32(ordered(below[at], _U32(31)) + step)
        out[at] = ordered(place, _U32(31))


@njit(inline="always")
def _copy(base: Any, start: int, length: int, out: Any) -> None:
    for i in range(_U64(start), _U64(start + length)):
        out[i] = base[i]


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
    of which 256 bytes behind each end must be readable. Words end at ``end``; no group is begun
    once they go on behind ``safe``. ``turn`` is that of the alphabet.
    """
    at = cursors[0]
    values = np.zeros(GROUP, np.uint16)
    fours = values.view(np.uint64)
    shape = np.int64(mantissa), np.int64(exponents), lift
    for first in range(start, out.size, GROUP):
        length = min(GROUP, out.size - first)
        scale = scales[first // GROUP]
        if scale == UNCHANGED:
            _copy(base, first, length, out)
            continue
        if at > safe:
            cursors[0] = at
            return first
        _find_contexts16(base, first, length, shape, scale, values)
        at += 2 * _take_symbols(values, length, slots, shift, states, stored, _U64(at))
        for i in range(length, GROUP):
            values[i] = _U16(0)
        _take_raws16(values, fours, raws, cursors)
        if at > end or cursors[1] > ends[1] or cursors[2] > ends[2]:
            return -1
        _restore16(values, length, base, first, _U16(turn), out)
    cursors[0] = at
    return out.size


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
    symbols = np.empty(GROUP, np.uint32)
    shape = mantissa, exponents, lift
    for first in range(start, out.size, GROUP):
        length = min(GROUP, out.size - first)
        scale = scales[first // GROUP]
        if scale == UNCHANGED:
            _copy(base, first, length, out)
            continue
        if at > safe:
            cursors[0] = at
            return first
        _find_contexts32(base, first, length, shape, scale, symbols)
        at += 2 * _take_symbols(symbols, length, slots, shift, states, stored, _U64(at))
        _take_raws32(symbols, length, raws, cursors)
        for k in range(1, 5):
            if at > end or cursors[k] > ends[k]:
                return -1
        _restore32(symbols, length, base, first, out)
    cursors[0] = at
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
