"""Encoding planes a row of 128 bytes at a time in registers; as ``codec.plane.kernels.encode``.

For AVX-512 with word shuffles. States are kept as upper and lower halves, as in
``codec.plane.registers``; only what slot a number stands for is looked up in memory, one by one,
since a gather would take longer. Imported anywhere, compiled only where it can run.
"""

from typing import Any

import numpy as np
from numba import types

from codec.machine import vectors32 as pairs
from codec.machine.compiling import njit
from codec.machine.instructions import has_word_shuffles
from codec.machine.vectors16 import LANES as WIDTH
from codec.machine.vectors16 import (
    add,
    as_pairs,
    as_words,
    below,
    both,
    choose,
    count,
    equal,
    load,
    load_bytes,
    lookup,
    quotient,
    shift_down,
    splat,
    squeeze,
    store,
    store_first,
)
from codec.plane.kernels import LANES

_U16: Any = np.uint16
_U32: Any = np.uint32
_U64: Any = np.uint64
_u16, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint16, types.uint32))
_in8, _in16 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint16))
_UPPER, _LOWER = _U32(0xFFFF0000), _U32(0xFFFF)


@njit(inline="always")
def _pick(table: Any, at: int, symbols: Any, first_half: Any, even_quarter: Any) -> Any:
    """Entries of a table of 256 words, as four tables of 64 of which one counts."""
    first = lookup(load(table, at), symbols, load(table, at + 32))
    second = lookup(load(table, at + 64), symbols, load(table, at + 96))
    third = lookup(load(table, at + 128), symbols, load(table, at + 160))
    fourth = lookup(load(table, at + 192), symbols, load(table, at + 224))
    lower = choose(even_quarter, first, second)
    return choose(first_half, lower, choose(even_quarter, third, fourth))


@njit(inline="always")
def _divide(states: Any, frequencies: Any) -> Any:
    """Quotients and remainders of sixteen states."""
    quotients = quotient(states, frequencies)
    rests = pairs.subtract(states, pairs.multiply(quotients, frequencies))
    one = pairs.splat(_U32(1))
    under = pairs.signed_below(rests, pairs.splat(_U32(0)))
    quotients = pairs.choose(under, pairs.subtract(quotients, one), quotients)
    rests = pairs.choose(under, pairs.add(rests, frequencies), rests)
    fits = pairs.below(rests, frequencies)
    quotients = pairs.choose(fits, quotients, pairs.add(quotients, one))
    return quotients, pairs.choose(fits, rests, pairs.subtract(rests, frequencies))


@njit(inline="always")
def _step(
    highs: Any, lows: Any, plane: Any, i: int, shares: Any, words: Any, at: Any, numbers: Any
) -> Any:
    """Quotients of even and odd lanes; words that states lose, and the numbers of their slots."""
    symbols = load_bytes(plane, i)
    even_quarter = equal(both(symbols, splat(_U16(64))), splat(_U16(0)))
    first_half = equal(both(symbols, splat(_U16(128))), splat(_U16(0)))
    frequencies = _pick(shares, 0, symbols, first_half, even_quarter)
    firsts = _pick(shares, 256, symbols, first_half, even_quarter)
    full = below(frequencies, add(shift_down(highs, splat(_U16(4))), splat(_U16(1))))
    taken = count(full)
    at -= taken
    store_first(words, at, squeeze(lows, full), taken)
    lower = as_pairs(choose(full, highs, lows))
    upper = as_pairs(choose(full, splat(_U16(0)), highs))
    divisors = as_pairs(frequencies)
    low, half = pairs.splat(_LOWER), pairs.splat(_U32(16))
    states = pairs.either(pairs.both(lower, low), pairs.shift_up(upper, half))
    even, rests = _divide(states, pairs.both(divisors, low))
    high = pairs.both(upper, pairs.splat(_UPPER))
    states = pairs.either(pairs.shift_down(lower, half), high)
    odd, odd_rests = _divide(states, pairs.shift_down(divisors, half))
    rests = pairs.either(rests, pairs.shift_up(odd_rests, half))
    store(numbers, i % LANES, add(as_words(rests), firsts))
    return even, odd, at


@njit(inline="always")
def _joined(even: Any, odd: Any, slots: Any, at: int) -> Any:
    """Halves of new states from quotients and slots."""
    even = pairs.shift_up(even, pairs.splat(_U32(12)))
    odd = pairs.shift_up(odd, pairs.splat(_U32(12)))
    half = pairs.splat(_U32(16))
    lows = pairs.either(pairs.both(even, pairs.splat(_LOWER)), pairs.shift_up(odd, half))
    highs = pairs.either(pairs.shift_down(even, half), pairs.both(odd, pairs.splat(_UPPER)))
    return as_words(highs), add(as_words(lows), load(slots, at))


@njit(inline="always")
def _look_up(slot_of: Any, numbers: Any, slots: Any) -> None:
    """The slots of a row of numbers, four to an element."""
    for k in range(LANES // 4):
        i = _U64(4 * k)
        first, second = slot_of[_U64(numbers[i])], slot_of[_U64(numbers[i + _U64(1)])]
        third = slot_of[_U64(numbers[i + _U64(2)])]
        fourth = slot_of[_U64(numbers[i + _U64(3)])]
        lower = _U64(first) | (_U64(second) << _U64(16))
        slots[_U64(k)] = lower | (_U64(third) << _U64(32)) | (_U64(fourth) << _U64(48))


def _kernel(function: Any) -> Any:
    if not has_word_shuffles():
        return function
    signature = types.int64(_in8, _in16, _in16, _u32, _u16, types.int64)
    return njit(signature, nogil=True, cache=True)(function)


@_kernel
def encode(plane: Any, shares: Any, slot_of: Any, states: Any, words: Any, end: int) -> int:
    """Write the words of whole rows of 128 bytes to the end of ``words[:end]``; their start."""
    upper, lower = np.empty(LANES, np.uint16), np.empty(LANES, np.uint16)
    for lane in range(LANES):
        upper[lane], lower[lane] = _U16(states[lane] >> _U32(16)), _U16(states[lane])
    h0, h1, h2, h3 = load(upper, 0), load(upper, 32), load(upper, 64), load(upper, 96)
    l0, l1, l2, l3 = load(lower, 0), load(lower, 32), load(lower, 64), load(lower, 96)
    numbers, slots = np.empty(LANES, np.uint16), np.empty(LANES // 4, np.uint64)
    at = end
    for i in range(plane.size - LANES, -1, -LANES):
        even3, odd3, at = _step(h3, l3, plane, i + 3 * WIDTH, shares, words, at, numbers)
        even2, odd2, at = _step(h2, l2, plane, i + 2 * WIDTH, shares, words, at, numbers)
        even1, odd1, at = _step(h1, l1, plane, i + WIDTH, shares, words, at, numbers)
        even0, odd0, at = _step(h0, l0, plane, i, shares, words, at, numbers)
        _look_up(slot_of, numbers, slots)
        h0, l0 = _joined(even0, odd0, slots, 0)
        h1, l1 = _joined(even1, odd1, slots, 8)
        h2, l2 = _joined(even2, odd2, slots, 16)
        h3, l3 = _joined(even3, odd3, slots, 24)
    store(upper, 0, h0)
    store(upper, 32, h1)
    store(upper, 64, h2)
    store(upper, 96, h3)
    store(lower, 0, l0)
    store(lower, 32, l1)
    store(lower, 64, l2)
    store(lower, 96, l3)
    for lane in range(LANES):
        states[lane] = _U32(lower[lane]) | (_U32(upper[lane]) << _U32(16))
    return at
