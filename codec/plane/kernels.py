"""Compiled loops of rANS-coded planes: counting bytes, laying out slots, coding, and back.

The coder is that of Duda (arXiv 1311.2540) in the interleaved form of Giesen (arXiv 1402.3392):
128 states of 32 bits, words of 16 bits, 2^12 slots. Byte i of a plane belongs to state i mod 128.
Slots are laid out by the alias method (Walker 1977, in Vose's order), so that ``codec.plane.wide``
can find a symbol in tables small enough for registers; ``docs/formats/frame.md`` §2.2 has the rule.
Kernels trust the lengths of what they are given and frequencies that sum to 4,096, and nothing
inside a stream. ``tests/codec/plane/naive.py`` says in plain Python what each means.
"""

from typing import Any, Final

import numpy as np
from numba import types

from codec.machine.compiling import njit

SLOTS: Final = 4096
LANES: Final = 128
FEW: Final = 64
"""As many symbols as registers have room for; slots then lie in as many buckets."""
ROOM_NBYTES: Final = 512
"""How far a decoder may read behind the words of a stream before it notices their end."""
LOWEST_STATE: Final = 1 << 16

_U8, _U16, _U32, _U64, _F32 = np.uint8, np.uint16, np.uint32, np.uint64, np.float32
_SLOT_BITS, _SLOT_MASK, _BYTE = _U32(12), _U32(4095), _U32(0xFF)
_FREQUENCY_SHIFT, _PLACE_SHIFT = _U32(8), _U32(20)
_LOWEST, _WORD_BITS, _WORD_MASK = _U32(LOWEST_STATE), _U32(16), _U32(0xFFFF)

_u8, _u16, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32))
_in8, _in16, _in32 = (
    types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint16, types.uint32)
)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


@njit(types.void(_in8, _u32), **_compiled)
def count(plane: Any, counts: Any) -> None:
    """How often each byte occurs in a plane.

    Eight tables in turn, since no counter can be raised twice in a row at full speed.
    """
    tables = np.zeros(8 * 256, np.uint32)
    whole = plane.size - plane.size % 8
    for i in range(0, whole, 8):
        for k in range(8):
            tables[_U64(256 * k) + _U64(plane[_U64(i + k)])] += _U32(1)
    for i in range(whole, plane.size):
        tables[_U64(plane[i])] += _U32(1)
    for symbol in range(256):
        counts[symbol] = _U32(0)
        for k in range(8):
            counts[symbol] += tables[256 * k + symbol]


@njit(types.uint64(_in8, types.uint8), **_compiled)
def present(plane: Any, base: Any) -> Any:
    """Which of 64 bytes from ``base``, a multiple of that, occur in a plane; 0 if others do too."""
    found, beyond = _U64(0), _U8(0)
    for i in range(plane.size):
        beyond |= plane[i] ^ base
        found |= _U64(1) << _U64(plane[i] & _U8(63))
    return found if beyond < _U8(64) else _U64(0)


@njit(types.void(_in32, _u16), **_compiled)
def apportion(counts: Any, frequencies: Any) -> None:
    """Slots in proportion to counts, at least one for each that is not 0.

    What rounding leaves over or takes too much is settled with the most frequent symbols.
    """
    total = np.int64(0)
    for symbol in range(256):
        total += np.int64(counts[symbol])
    rest = np.int64(SLOTS)
    for symbol in range(256):
        seen = np.int64(counts[symbol])
        share = (seen * SLOTS + total // 2) // total
        share = min(max(share, 1), SLOTS - 1) if seen else 0
        frequencies[symbol] = _U16(share)
        rest -= share
    while rest:
        most = 0
        for symbol in range(256):
            if frequencies[symbol] > frequencies[most]:
                most = symbol
        step = max(rest, -np.int64(frequencies[most]) // 8 - 1) if rest < 0 else rest
        frequencies[most] = _U16(np.int64(frequencies[most]) + step)
        rest -= step


@njit(types.int64(_in16, _u8), **_compiled)
def write_frequencies(frequencies: Any, stored: Any) -> int:
    """Write the stored form of 256 frequencies, of which none is 4,096; its length, at most 512."""
    at, missing = 0, 0
    for symbol in range(256):
        frequency = frequencies[symbol]
        if not frequency:
            missing += 1
            continue
        if missing:
            stored[at], stored[at + 1] = _U8(0), _U8(missing - 1)
            at, missing = at + 2, 0
        if frequency >= 128:
            stored[at] = _U8(128 | frequency >> 8)
            at += 1
        stored[at] = _U8(frequency & 255)
        at += 1
    return at


@njit(types.int64(_in8, _u16), **_compiled)
def read_frequencies(stream: Any, frequencies: Any) -> int:
    """Fill in the frequencies at the start of a stream, and say how many bytes they take.

    Stops after those that make 4,096; −1 if that cannot be or a symbol has all.
    """
    at, symbol, total = 0, 0, 0
    frequencies[:] = _U16(0)
    while total < SLOTS:
        if at + 2 > stream.size or symbol > 255:
            return -1
        value, following = np.int64(stream[at]), np.int64(stream[at + 1])
        at += 1
        if value == 0:
            symbol += following + 1
            at += 1
            continue
        if value >= 128:
            value = (value - 128) * 256 + following
            at += 1
        if value == 0 or value >= SLOTS:
            return -1
        frequencies[symbol] = _U16(value)
        total += value
        symbol += 1
    return at if total == SLOTS else -1


@njit(inline="always")
def _share_out(rests: Any, bucket_slots: int, owns: Any, partners: Any, starts: Any) -> None:
    """Fill every bucket: its first ``owns`` slots are its owner's, the others its partner's.

    ``rests`` has the slots of every owner, and is used up. The others are the partner's slots from
    number ``starts`` on.
    """
    for j in range(rests.size):
        owns[j], partners[j], starts[j] = 0, j, 0
    donor, lacking = 0, 0
    while donor < rests.size and rests[donor] <= bucket_slots:
        donor += 1
    while True:
        while lacking < rests.size and rests[lacking] >= bucket_slots:
            lacking += 1
        if lacking == rests.size:
            return
        bucket = lacking
        while bucket >= 0:
            owns[bucket], partners[bucket] = rests[bucket], donor
            rests[donor] -= bucket_slots - rests[bucket]
            starts[bucket] = rests[donor]
            rests[bucket] = bucket_slots
            bucket = donor if rests[donor] < bucket_slots else -1
            while donor < rests.size and rests[donor] <= bucket_slots:
                donor += 1


@njit(inline="always")
def _three(length: int) -> Any:
    return np.empty(length, np.int64), np.empty(length, np.int64), np.empty(length, np.int64)


@njit(inline="always")
def _used(frequencies: Any, symbols: Any, rests: Any) -> int:
    """The symbols that have slots, in order, and how many each has."""
    used = 0
    for symbol in range(256):
        if frequencies[symbol]:
            symbols[used], rests[used] = symbol, frequencies[symbol]
            used += 1
    return used


@njit(types.void(_in16, _u32), **_compiled)
def fill_slots(frequencies: Any, slots: Any) -> None:
    """For every slot its symbol (8 bits), the slots of that (12), and which of them it is (12)."""
    symbols, rests = np.zeros(256, np.int64), np.zeros(256, np.int64)
    used = _used(frequencies, symbols, rests)
    buckets = FEW if used <= FEW else 256
    owns, partners, starts = _three(buckets)
    bucket_slots = SLOTS // buckets
    _share_out(rests[:buckets], bucket_slots, owns, partners, starts)
    for slot in range(SLOTS):
        j, place = slot // bucket_slots, slot % bucket_slots
        owner = j
        if place >= owns[j]:
            owner, place = partners[j], place - owns[j] + starts[j]
        symbol = symbols[owner]
        entry = _U32(_U32(symbol) | _U32(_U32(frequencies[symbol]) << _FREQUENCY_SHIFT))
        slots[slot] = _U32(entry | _U32(_U32(place) << _PLACE_SHIFT))


@njit(types.boolean(_in16, types.int64, _u16), **_compiled)
def fill_registers(frequencies: Any, shift: int, tables: Any) -> bool:
    """Four tables of 64 for ``codec.plane.wide``; False if there are more symbols than that.

    By bucket: 1,024 times the slots of the owner, plus the partner; then what to add to the slot
    for its place among those of the partner. By symbol: 16 times its slots; then its byte, shifted.
    """
    symbols, rests = np.zeros(256, np.int64), np.zeros(256, np.int64)
    used = _used(frequencies, symbols, rests)
    if used > FEW:
        return False
    owns, partners, starts = _three(FEW)
    _share_out(rests[:FEW], SLOTS // FEW, owns, partners, starts)
    for j in range(FEW):
        tables[j] = _U16(owns[j] << 10 | partners[j])
        tables[FEW + j] = _U16(starts[j] - owns[j])
        tables[2 * FEW + j] = _U16(frequencies[symbols[j]] << 4)
        tables[3 * FEW + j] = _U16(symbols[j] << shift)
    return True


@njit(types.void(_in16, _u16, _u16), **_compiled)
def number_slots(frequencies: Any, shares: Any, slot_of: Any) -> None:
    """What encoding needs: how many slots a symbol has, and which.

    ``shares`` are the slots of every symbol, then of all symbols before it; ``slot_of`` has in that
    order the slots themselves.
    """
    slots = np.empty(SLOTS, np.uint32)
    fill_slots(frequencies, slots)
    first = 0
    for symbol in range(256):
        shares[symbol], shares[256 + symbol] = frequencies[symbol], _U16(first)
        first += frequencies[symbol]
    for slot in range(SLOTS):
        entry = slots[slot]
        first = np.int64(shares[_U64(256) + _U64(entry & _BYTE)])
        slot_of[first + np.int64(entry >> _PLACE_SHIFT)] = _U16(slot)


@njit(inline="always")
def _divided(states: Any, shares: Any, inverses: Any, numbers: Any) -> None:
    """Quotient and remainder of states by frequencies, as the upper bits and a slot's number.

    A quotient has 20 bits, so that in single precision it is at most one off.
    """
    for lane in range(LANES):
        state, share = states[lane], shares[lane]
        frequency = _U32(share & _WORD_MASK)
        quotient = _U32(np.int32(_F32(np.int32(state >> _U32(1))) * inverses[lane]))
        rest = _U32(state - _U32(quotient * frequency))
        below = _U32(np.int32(rest) < np.int32(0))
        quotient, rest = _U32(quotient - below), _U32(rest + _U32(frequency * below))
        beyond = _U32(rest >= frequency)
        quotient, rest = _U32(quotient + beyond), _U32(rest - _U32(frequency * beyond))
        numbers[lane] = _U32(_U32(share >> _WORD_BITS) + rest)
        states[lane] = _U32(quotient << _SLOT_BITS)


@njit(types.int64(_in8, _in16, _in16, _u32, _u16, types.int64), **_compiled)
def encode(plane: Any, shares: Any, slot_of: Any, states: Any, words: Any, end: int) -> int:
    """Write the words of a plane to the end of ``words[:end]``; where they begin.

    From the last row of 128 bytes to the first, as all follows from what comes behind it. A last
    row that is shorter must be the first of all. Most of the loops are made vectors of by a
    compiler.
    """
    packed, inverses = np.empty(256, np.uint32), np.empty(256, np.float32)
    for symbol in range(256):
        packed[symbol] = _U32(shares[symbol]) | _U32(_U32(shares[256 + symbol]) << _WORD_BITS)
        inverses[symbol] = _F32(2.0 / max(shares[symbol], 1))
    chosen, numbers = np.zeros(LANES, np.uint32), np.empty(LANES, np.uint32)
    scales = np.zeros(LANES, np.float32)
    lows, fulls = np.empty(LANES, np.uint16), np.empty(LANES, np.uint8)
    at = _U64(end)
    for start in range((plane.size - 1) // LANES * LANES, -1, -LANES):
        row = plane[start : start + LANES]
        for lane in range(row.size):
            symbol = _U64(row[lane])
            chosen[lane], scales[lane] = packed[symbol], inverses[symbol]
        for lane in range(LANES):
            state = states[lane]
            full = _U32(state >> _U32(20)) >= _U32(chosen[lane] & _WORD_MASK)
            lows[lane], fulls[lane] = _U16(state), _U8(full)
            states[lane] = _U32(state >> _WORD_BITS) if full else state
        _divided(states, chosen, scales, numbers)
        for back in range(row.size):
            lane = _U64(row.size - 1 - back)
            words[at - _U64(1)] = lows[lane]
            at -= _U64(fulls[lane])
            states[lane] = _U32(states[lane] + _U32(slot_of[_U64(numbers[lane])]))
        for lane in range(row.size, LANES):
            states[lane] = _LOWEST
    return int(at)


@njit(inline="always")
def halves_of(states: Any) -> Any:
    """Upper and lower halves of states, as words."""
    upper, lower = np.empty(LANES, np.uint16), np.empty(LANES, np.uint16)
    for lane in range(LANES):
        upper[lane], lower[lane] = _U16(states[lane] >> _WORD_BITS), _U16(states[lane])
    return upper, lower


@njit(inline="always")
def join_halves(upper: Any, lower: Any, states: Any) -> None:
    """Undo :func:`halves_of`."""
    for lane in range(LANES):
        states[lane] = _U32(lower[lane]) | _U32(_U32(upper[lane]) << _WORD_BITS)


@njit(types.int64(_in8, types.int64, types.int64, _u32, _in32, _u8), **_compiled)
def decode(stream: Any, at: int, end: int, states: Any, slots: Any, plane: Any) -> int:
    """Restore the bytes of a plane; where their words end.

    Words begin at byte ``at`` of ``stream`` and end before ``end``; −1 if they do not suffice.
    ROOM_NBYTES must be readable behind that.
    """
    place = _U64(at)
    for first in range(0, plane.size, LANES):
        row = plane[first : first + LANES]
        for lane in range(row.size):
            state = states[lane]
            entry = slots[_U64(state & _SLOT_MASK)]
            row[lane] = _U8(entry)
            frequency = _U32(_U32(entry >> _FREQUENCY_SHIFT) & _SLOT_MASK)
            state = _U32(_U32(frequency * _U32(state >> _SLOT_BITS)) + _U32(entry >> _PLACE_SHIFT))
            word = _U32(stream[place]) | _U32(_U32(stream[place + _U64(1)]) << _U32(8))
            low = state < _LOWEST
            states[lane] = _U32(_U32(state << _WORD_BITS) | word) if low else state
            place += _U64(low) << _U64(1)
        if place > _U64(end):
            return -1
    return int(place)
