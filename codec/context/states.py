"""Symbols out of states and words, eight at a time, on any processor.

States lie in memory in two halves of 16 bits, so that eight of them, their places in the table and
what is found there are registers of one kind (``codec.machine.eights``). 64 states of 32 bits,
words of 16 and 2^11 slots: the coder of ``codec.context.kernels``.
"""

from typing import Any, Final

import numpy as np

from codec.context.kernels import LANES, LOWEST_STATE
from codec.machine import eights
from codec.machine.compiling import njit

_U16, _U32 = np.uint16, np.uint32
_SLOT: Final = 2047
"""The bits of a state that name a slot."""
_half: Any = eights.stack_of(LANES)


@njit(inline="always")
def taken_apart(states: Any) -> Any:
    """The lower halves of all states, and their upper halves."""
    lower, upper = _half(0), _half(0)
    for lane in range(LANES):
        lower[lane] = _U16(states[lane] & _U32(0xFFFF))
        upper[lane] = _U16(states[lane] >> _U32(16))
    return lower, upper


@njit(inline="always")
def put_together(lower: Any, upper: Any, states: Any) -> None:
    """What :func:`taken_apart` undoes."""
    for lane in range(LANES):
        states[lane] = _U32(_U32(_U32(upper[lane]) << _U32(16)) | _U32(lower[lane]))


@njit(inline="always")
def _take_eight(
    values: Any, i: int, slots: Any, shift: Any, lower: Any, upper: Any, stored: Any, at: int
) -> int:
    lane = i % LANES
    low, high = eights.load(lower, lane), eights.load(upper, lane)
    slot = eights.both(low, eights.splat(_U16(_SLOT)))
    places = eights.shift_down(eights.either(eights.load(values, i), slot), shift)
    found, frequency, first = eights.pick(slots, 0, places)
    eights.store(values, i, found)
    # The state above its slot has 21 bits: the lower 16 and the others are multiplied apart.
    rest = eights.shift_down(high, eights.splat(_U16(11)))
    high = eights.shift_up(high, eights.splat(_U16(5)))
    whole = eights.either(eights.shift_down(low, eights.splat(_U16(11))), high)
    within = eights.subtract(slot, first)
    low = eights.add(eights.multiply(whole, frequency), within)
    high = eights.add(eights.multiply_high(whole, frequency), eights.multiply(rest, frequency))
    high = eights.subtract(high, eights.below(low, within))
    short = eights.equal(high, eights.splat(_U16(0)))
    words, taken = eights.spread(stored, at, short)
    eights.store(upper, lane, eights.either(high, eights.both(low, short)))
    eights.store(lower, lane, eights.choose(short, words, low))
    return at + taken


@njit(inline="always")
def _take_one(
    values: Any, i: int, slots: Any, shift: Any, lower: Any, upper: Any, stored: Any, at: int
) -> int:
    lane = i % LANES
    state = _U32(_U32(_U32(upper[lane]) << _U32(16)) | _U32(lower[lane]))
    slot = _U32(state & _U32(_SLOT))
    entry = 4 * np.int64(_U32(_U32(values[i]) | slot) >> shift)
    values[i] = slots[entry]
    grown = _U32(_U32(slots[entry + 1]) * _U32(state >> _U32(11)))
    state = _U32(grown + _U32(slot - _U32(slots[entry + 2])))
    if state < _U32(LOWEST_STATE):
        word = _U32(_U32(stored[at]) | _U32(_U32(stored[at + 1]) << _U32(8)))
        state = _U32(_U32(state << _U32(16)) | word)
        at += 2
    lower[lane], upper[lane] = _U16(state & _U32(0xFFFF)), _U16(state >> _U32(16))
    return at


@njit(inline="always")
def take_symbols(
    values: Any, length: int, slots: Any, shift: Any, lower: Any, upper: Any, stored: Any, at: int
) -> int:
    """Replace places of contexts by the values found there; where in ``stored`` words go on.

    Element i belongs to state i mod 64. ``slots`` is a table of
    :func:`codec.context.slots.wide_slots` with its ``shift``; 520 bytes of ``stored`` from ``at``
    on must be readable.
    """
    eight, whole = eights.splat(_U16(shift)), length - length % eights.LANES
    for i in range(0, whole, eights.LANES):
        at = _take_eight(values, i, slots, eight, lower, upper, stored, at)
    for i in range(whole, length):
        at = _take_one(values, i, slots, shift, lower, upper, stored, at)
    return at
