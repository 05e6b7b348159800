"""Compiled loops of SPARSE on gaps and numbers: symbols, contexts, and rANS over two states.

The coder is that of Duda (arXiv 1311.2540) with states of 32 bits, words of 16 and 2^11 slots; bits
that no table foretells are shifted into the same states. ``docs/formats/frame.md`` §2.4 has the
order of things. Decoding may read past the end as far as ROOM, and says so.
``tests/codec/sparse/naive.py`` says in plain Python what each means.
"""

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from codec.machine.compiling import njit

SYMBOLS: Final = 253
"""Symbols of numbers, the escape last."""
CONTEXTS: Final = 23
GAP_BITS: Final = 24
ROOM: Final = 32
"""Words that may be read behind the end before that is noticed: by one change, and 8 counts."""

_U16, _U32, _U64 = np.uint16, np.uint32, np.uint64
_ONE, _WORD_BITS = _U32(1), _U32(16)
_LOWEST, _WORD_MASK = _U32(1 << 16), _U32(0xFFFF)
_SLOT_BITS, _SLOT_MASK = _U32(11), _U32(2047)
_ESCAPE: Final = SYMBOLS - 1
_FIRST_MEAN: Final = 256

_u8, _u16, _u32, _u64, _i64 = (
    types.Array(kind, 1, "C")
    for kind in (types.uint8, types.uint16, types.uint32, types.uint64, types.int64)
)
_in8, _in16, _in32, _in64, _ini64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.uint64, types.int64)
)
_rows16 = types.Array(types.uint16, 2, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


def _generate_length(_typing_context: Any, _number: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        zero_is_fine = context.get_constant(types.boolean, False)
        zeros = builder.ctlz(arguments[0], zero_is_fine)
        return builder.sub(context.get_constant(types.uint64, 64), zeros)

    return types.int64(types.uint64), generate


_length: Any = intrinsic(_generate_length)
"""Bits of a number, 0 of 0."""


@njit(inline="always")
def _symbol(number: Any) -> Any:
    """The symbol of a number: itself below 8, then four to the octave."""
    if number < _U64(8):
        return np.int64(number)
    bits = _length(number) - 3
    return 4 + 4 * bits + np.int64((number >> _U64(bits)) & _U64(3))


@njit(inline="always")
def _extra_bits(symbol: int) -> int:
    """How many lower bits of a number its symbol leaves open."""
    return 0 if symbol < 8 else ((symbol - 8) >> 2) + 1


@njit(inline="always")
def _least(symbol: int) -> Any:
    """The least number of a symbol."""
    if symbol < 8:
        return _U64(symbol)
    return _U64(4 + (symbol & 3)) << _U64(((symbol - 8) >> 2) + 1)


@njit(types.void(_in32, _ini64, _u8), **_compiled)
def contexts(gaps: Any, bounds: Any, chosen: Any) -> None:
    """The context of every gap: how long those before it were in its class, in octaves."""
    for k in range(bounds.size - 1):
        mean = _FIRST_MEAN
        for i in range(bounds[k], bounds[k + 1]):
            chosen[i] = mean >> 5
            mean += _symbol(_U64(gaps[i])) - (mean >> 3)


@njit(types.void(_in32, _in64, _in8, _ini64, _i64, _i64), **_compiled)
def tally(
    gaps: Any, numbers: Any, chosen: Any, bounds: Any, gap_counts: Any, number_counts: Any
) -> None:
    """Add the symbols to counts by class, for gaps by context too; both flat."""
    for k in range(bounds.size - 1):
        for i in range(bounds[k], bounds[k + 1]):
            row = k * CONTEXTS + np.int64(chosen[i])
            gap_counts[row * SYMBOLS + _symbol(_U64(gaps[i]))] += 1
            number_counts[k * SYMBOLS + _symbol(numbers[i])] += 1


@njit(inline="always")
def _put_bits(state: Any, value: Any, bits: int, words: Any, at: int) -> tuple[Any, int]:
    """Push up to 64 bits onto a state, the highest first, so that they are taken lowest first."""
    while bits > 0:
        length = bits - 16 * ((bits - 1) >> 4)
        bits -= length
        part = _U32((value >> _U64(bits)) & ((_U64(1) << _U64(length)) - _U64(1)))
        if _U64(state) >> _U64(32 - length):
            at -= 1
            words[at] = _U16(state & _WORD_MASK)
            state = _U32(state >> _WORD_BITS)
        state = _U32(_U32(state << _U32(length)) | part)
    return state, at


@njit(inline="always")
def _put_number(
    state: Any, number: Any, bits: int, frequencies: Any, firsts: Any, words: Any, at: int
) -> tuple[Any, int]:
    symbol = _symbol(number)
    if frequencies[symbol] == 0:
        state, at = _put_bits(state, number, bits, words, at)
        symbol = _ESCAPE
    else:
        state, at = _put_bits(state, number - _least(symbol), _extra_bits(symbol), words, at)
    frequency = _U32(frequencies[symbol])
    if _U32(state >> _U32(21)) >= frequency:
        at -= 1
        words[at] = _U16(state & _WORD_MASK)
        state = _U32(state >> _WORD_BITS)
    share = _U32(state // frequency)
    within = _U32(state - _U32(share * frequency))
    return _U32(_U32(_U32(share << _SLOT_BITS) + _U32(firsts[symbol])) + within), at


@njit(
    types.int64(_in32, _in64, _in8, _ini64, _ini64, _rows16, _rows16, types.int64, _u16),
    **_compiled,
)
def encode(
    gaps: Any,
    numbers: Any,
    chosen: Any,
    bounds: Any,
    tables: Any,
    frequencies: Any,
    firsts: Any,
    bits: int,
    words: Any,
) -> int:
    """Write both states and all words to the end of ``words``; where they begin.

    ``tables`` names for each class the rows of the tables of its contexts, then of its numbers.
    """
    gap_state, number_state = _LOWEST, _LOWEST
    at = words.size
    for k in range(bounds.size - 2, -1, -1):
        row = tables[k * (CONTEXTS + 1) + CONTEXTS]
        for i in range(bounds[k + 1] - 1, bounds[k] - 1, -1):
            number_state, at = _put_number(
                number_state, numbers[i], bits, frequencies[row], firsts[row], words, at
            )
            gap_row = tables[k * (CONTEXTS + 1) + np.int64(chosen[i])]
            gap_state, at = _put_number(
                gap_state,
                _U64(gaps[i]),
                GAP_BITS,
                frequencies[gap_row],
                firsts[gap_row],
                words,
                at,
            )
        count = _U64(bounds[k + 1] - bounds[k])
        length = _length(count)
        gap_state, at = _put_bits(gap_state, count, max(length - 1, 0), words, at)
        gap_state, at = _put_bits(gap_state, _U64(length), 5, words, at)
    for state in (number_state, gap_state):
        at -= 2
        words[at] = _U16(state & _WORD_MASK)
        words[at + 1] = _U16(state >> _WORD_BITS)
    return at


@njit(inline="always")
def _take_bits(state: Any, bits: int, words: Any, at: int) -> tuple[Any, Any, int]:
    value, taken = _U64(0), 0
    while taken < bits:
        length = min(bits - taken, 16)
        part = _U32(state & _U32(_U32(_ONE << _U32(length)) - _ONE))
        value |= _U64(part) << _U64(taken)
        taken += length
        state = _U32(state >> _U32(length))
        if state < _LOWEST:
            state = _U32(_U32(state << _WORD_BITS) | _U32(words[at]))
            at += 1
    return value, state, at


@njit(inline="always")
def _take_number(
    state: Any, row: int, bits: int, slots: Any, words: Any, at: int
) -> tuple[Any, Any, int]:
    entry = slots[(row << 11) | np.int64(state & _SLOT_MASK)]
    symbol = np.int64(entry & _U32(255))
    frequency = _U32(_U32(entry >> _U32(8)) & _SLOT_MASK)
    state = _U32(_U32(frequency * _U32(state >> _SLOT_BITS)) + _U32(entry >> _U32(19)))
    if state < _LOWEST:
        state = _U32(_U32(state << _WORD_BITS) | _U32(words[at]))
        at += 1
    if symbol < 8:
        return _U64(symbol), state, at
    if symbol == _ESCAPE:
        return _take_bits(state, bits, words, at)
    value, state, at = _take_bits(state, _extra_bits(symbol), words, at)
    return _least(symbol) + value, state, at


@njit(
    types.boolean(_in16, types.int64, _ini64, _ini64, _in32, types.int64, _i64, _u32, _u64),
    **_compiled,
)
def decode(
    words: Any,
    end: int,
    sizes: Any,
    tables: Any,
    slots: Any,
    bits: int,
    bounds: Any,
    ranks: Any,
    numbers: Any,
) -> bool:
    """Write of every change its rank in its class and its number; False if that cannot be done.

    ``sizes`` are those of the classes; ``bounds`` becomes where the changes of each begin and end.
    Every rank is below the size of its class, and there are as many as ``ranks`` has room for.
    """
    gap_state = _U32(_U32(words[0]) | _U32(_U32(words[1]) << _WORD_BITS))
    number_state = _U32(_U32(words[2]) | _U32(_U32(words[3]) << _WORD_BITS))
    at, done = 4, 0
    if gap_state < _LOWEST or number_state < _LOWEST:
        return False
    for k in range(sizes.size):
        bounds[k] = done
        length, gap_state, at = _take_bits(gap_state, 5, words, at)
        count = np.int64(0)
        if length > _U64(0):
            low, gap_state, at = _take_bits(gap_state, np.int64(length) - 1, words, at)
            count = np.int64((_U64(1) << (length - _U64(1))) | low)
        if done + count > ranks.size:
            return False
        mean, rank = _FIRST_MEAN, -1
        row = tables[k * (CONTEXTS + 1) + CONTEXTS]
        for i in range(done, done + count):
            gap_row = tables[k * (CONTEXTS + 1) + (mean >> 5)]
            gap, gap_state, at = _take_number(gap_state, gap_row, GAP_BITS, slots, words, at)
            mean += _symbol(gap) - (mean >> 3)
            rank += np.int64(gap) + 1
            number, number_state, at = _take_number(number_state, row, bits, slots, words, at)
            if rank >= sizes[k] or at > end:
                return False
            ranks[i], numbers[i] = rank, number
        done += count
    bounds[sizes.size] = done
    return at == end and gap_state == _LOWEST and number_state == _LOWEST


@njit(types.void(_rows16, _u32), **_compiled)
def fill_slots(frequencies: Any, slots: Any) -> None:
    """Of every slot of every table its symbol, that symbol's frequency, and the slot within it."""
    at = 0
    for row in range(frequencies.shape[0]):
        for symbol in range(frequencies.shape[1]):
            frequency = _U32(frequencies[row, symbol])
            entry = _U32(_U32(symbol) | _U32(frequency << _U32(8)))
            for within in range(frequency):
                slots[at] = _U32(entry | _U32(_U32(within) << _U32(19)))
                at += 1
