"""Compiled loops of CTX: differences to a base as symbols in contexts, and interleaved rANS.

The coder is that of Duda (arXiv 1311.2540) in the interleaved form of Giesen (arXiv 1402.3392):
64 states of 32 bits, words of 16 bits, 2^11 slots. Element i of a block belongs to state i mod 64.
Kernels trust the lengths of what they are given and nothing inside it. How it is undone is in
``codec.context.portable`` and, where there are vectors, ``codec.context.wide16`` and ``32``.
``tests/codec/context/naive.py`` says in plain Python what each means.

``mantissa`` is the number of mantissa bits of a word, ``exponents`` the mask of its exponent. Words
of 16 bits are written in the alphabet with signs, of 32 in the one by length
(``codec.context.alphabet``).
Every operation on words is wrapped in ``_U32``, which keeps Numba from widening it.
"""

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from codec.context.alphabet import MARK
from codec.machine.compiling import njit

GROUP: Final = 256
"""Elements that share one scale byte."""
UNCHANGED: Final = 255
"""Scale byte of a group equal to its base."""
LANES: Final = 64
LOWEST_STATE: Final = 1 << 16

_U8, _U16, _U32, _I32, _F32 = np.uint8, np.uint16, np.uint32, np.int32, np.float32
_ZERO, _ONE = _U32(0), _U32(1)
_FREQUENCY_SHIFT, _BIAS_SHIFT = _U32(10), _U32(21)
_LOWEST, _WORD_BITS, _WORD_MASK = _U32(LOWEST_STATE), _U32(16), _U32(0xFFFF)
_MIDDLE_SCALE = 127
_MARK = _U32(MARK)
_RAISED = np.uint64(0x0300030003000300)
"""Of four cells of 16-bit words, the bits that those with raw bytes have."""
_HALF_OCTAVE = _U32(0x3504F3)
"""Mantissa of the square root of two, from which a mean is rounded up to the next exponent."""

_u8, _u16, _u32, _i64, _f64 = (
    types.Array(kind, 1, "C")
    for kind in (types.uint8, types.uint16, types.uint32, types.int64, types.float64)
)
_in8, _in16, _in32, _in64, _inf64 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.uint16, types.uint32, types.int64, types.float64)
)
_shape = (types.uint32, types.uint32, types.int32)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


def _cast(result: Any, argument: Any, element: str) -> Any:
    """An intrinsic that reads the bits of one 32-bit type as those of another."""

    def generate(_typing_context: Any, _value: Any) -> Any:
        def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(result))

        return result(argument), build

    generate.__name__ = element
    return intrinsic(generate)


_as_float: Any = _cast(types.float32, types.uint32, "as_float")
_as_bits: Any = _cast(types.uint32, types.float32, "as_bits")


@njit(inline="always")
def ordered(word: Any, top: Any) -> Any:
    """Words so mapped that their order as signed integers is that of the floats; an involution."""
    sign = _U32(_ZERO - _U32(word >> top))
    return _U32(word ^ _U32(sign & _U32(_U32(_ONE << top) - _ONE)))


@njit(inline="always")
def _difference(word: Any, below: Any, top: Any) -> Any:
    """Zigzag of the ordered difference: 0, -1, 1, -2, … become 0, 1, 2, 3, … and so on."""
    full = _U32(_U32(_U32(_U32(_ONE << top) - _ONE) << _ONE) | _ONE)
    step = _U32(_U32(ordered(word, top) - ordered(below, top)) & full)
    sign = _U32(_ZERO - _U32(step >> top))
    return _U32(_U32(_U32(step << _ONE) ^ sign) & full)


@njit(inline="always")
def context_of(below: Any, mantissa: Any, exponents: Any, lift: Any) -> Any:
    """Which of the 16 contexts the exponent of a base word selects; ``lift`` is 3 less a scale."""
    above = _I32(_I32(_U32(below >> mantissa) & exponents) + lift)
    return _U32(min(max(above, _I32(0)), _I32(15)))


@njit(inline="always")
def _value(word: Any, top: Any, mantissa: Any, gain: Any) -> Any:
    """The float of a word; infinities and NaNs may become large numbers."""
    magnitude = _U32(word & _U32(_U32(_ONE << top) - _ONE))
    bits = _U32(magnitude << _U32(_U32(23) - mantissa)) | _U32(_U32(word >> top) << _U32(31))
    return _F32(_as_float(_U32(bits)) * gain)


@njit(inline="always")
def _scale(target: Any, base: Any, steps: Any, top: Any, mantissa: Any, gain: Any) -> int:
    """Biased exponent of the mean absolute difference of a group, to the nearest in octaves.

    The sum has eight parts, so that every processor may add them in one way and quickly.
    """
    for i in range(target.size):
        here = _value(_U32(target[i]), top, mantissa, gain)
        steps[i] = abs(here - _value(_U32(base[i]), top, mantissa, gain))
    s0, s1, s2, s3 = _F32(0), _F32(0), _F32(0), _F32(0)
    s4, s5, s6, s7 = _F32(0), _F32(0), _F32(0), _F32(0)
    whole = target.size - target.size % 8
    for i in range(0, whole, 8):
        s0, s1, s2, s3 = s0 + steps[i], s1 + steps[i + 1], s2 + steps[i + 2], s3 + steps[i + 3]
        s4, s5, s6, s7 = s4 + steps[i + 4], s5 + steps[i + 5], s6 + steps[i + 6], s7 + steps[i + 7]
    for i in range(whole, target.size):
        s0 += steps[i]
    mean = _F32(_F32(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))) / _F32(target.size))
    bits = _as_bits(mean)
    exponent = int(_U32(bits >> _U32(23)) & _U32(255))
    if exponent == 255:
        return _MIDDLE_SCALE
    if _U32(bits & _U32(0x7FFFFF)) > _HALF_OCTAVE:
        exponent += 1
    return min(max(exponent, 1), 250)


@njit(inline="always")
def _raws_of(z: Any) -> Any:
    """How many lower bytes of a difference are not part of its symbol."""
    return _U32(_U32(z > _U32(0xFF)) + _U32(z > _U32(0xFFFF)) + _U32(z > _U32(0xFFFFFF)))


@njit(inline="always")
def _symbol(z: Any, top: Any) -> Any:
    if top == _U32(15):
        far = _U32(_U32(256) + _U32(_U32(_U32(z >> _U32(8)) << _ONE) | _U32(z & _ONE)))
        return far if z > _U32(255) else z
    raws = _raws_of(z)
    return _U32(_U32(raws << _U32(8)) + _U32(z >> _U32(raws << _U32(3))))


@njit(inline="always")
def _differences(
    target: Any, base: Any, top: Any, mantissa: Any, exponents: Any, lift: Any, zs: Any, cells: Any
) -> None:
    """Of every element of a group the difference, and the cell before folding."""
    turn = _U32(0x8000) if top == _U32(15) else _ZERO
    for i in range(target.size):
        flip = _U32(_U32(base[i]) & turn)
        z = _difference(_U32(_U32(target[i]) ^ flip), _U32(_U32(base[i]) ^ flip), top)
        context = context_of(_U32(base[i]), mantissa, exponents, lift)
        zs[i] = z
        cells[i] = _U32(_U32(context << _U32(10)) | _symbol(z, top))


@njit(inline="always")
def _differs(target: Any, base: Any) -> bool:
    found = _U32(0)
    for i in range(target.size):
        found |= _U32(target[i]) ^ _U32(base[i])
    return found != _ZERO


def _signatures(result: Any, *rest: Any) -> list[Any]:
    """One signature for words of 16 bits, one for words of 32."""
    return [result(word, word, *rest) for word in (_in16, _in32)]


@njit(_signatures(types.void, *_shape, types.float32, _u32, _u8, types.int64), **_compiled)
def count(
    target: Any,
    base: Any,
    mantissa: Any,
    exponents: Any,
    lift: Any,
    gain: Any,
    counts: Any,
    scales: Any,
    length: int,
) -> None:
    """Add to ``counts`` how often each symbol occurs in each context, before any folding.

    Every ``length`` elements are a group; ``scales`` are told of each.
    """
    top = _U32(8 * target.itemsize - 1)
    steps = np.empty(length, np.float32)
    zs, plain = np.empty(length, np.uint32), np.empty(length, np.uint32)
    for group in range(scales.size):
        start = group * length
        words, below = target[start : start + length], base[start : start + length]
        if not _differs(words, below):
            scales[group] = UNCHANGED
            continue
        scale = _scale(words, below, steps, top, mantissa, gain)
        scales[group] = scale
        _differences(words, below, top, mantissa, exponents, _I32(lift - scale), zs, plain)
        for i in range(words.size):
            counts[np.uint64(plain[i])] += _ONE


@njit(inline="always")
def _put_raws16(folded: Any, fours: Any, zs: Any, raws: Any, cursors: Any) -> None:
    """Append the raw bytes of a group; ``fours`` are the same cells, four in a number."""
    first, second = np.uint64(cursors[0]), np.uint64(cursors[1])
    for four in range(fours.size):
        if fours[four] & _RAISED == np.uint64(0):
            continue
        for i in range(np.uint64(4 * four), np.uint64(4 * four + 4)):
            symbol, z = _U32(_U32(folded[i]) & _U32(1023)), zs[i]
            whole = _U32(symbol == _U32(767))
            raws[first] = _U8(_U32(z & _U32(_U32(0xFE) | whole)) ^ _MARK)
            first += np.uint64(symbol > _U32(255))
            raws[second] = _U8(z >> _U32(8))
            second += np.uint64(whole)
    cursors[0], cursors[1] = np.int64(first), np.int64(second)


@njit(inline="always")
def _put_raws32(folded: Any, length: int, zs: Any, raws: Any, cursors: Any) -> None:
    """Append the raw bytes of a group."""
    last = _U32(1023)
    r0, r1 = np.uint64(cursors[0]), np.uint64(cursors[1])
    for i in range(length):
        symbol, z = _U32(_U32(folded[i]) & last), zs[i]
        taken = _U32(_U32(symbol >> _U32(8)) + _U32(symbol == last))
        raws[r0] = _U8(z)
        r0 += np.uint64(taken > _U32(0))
        raws[r1] = _U8(z >> _U32(8))
        r1 += np.uint64(taken > _U32(1))
        for k in range(2, taken):
            raws[cursors[k]] = _U8(z >> _U32(8 * k))
            cursors[k] += 1
    cursors[0], cursors[1] = np.int64(r0), np.int64(r1)


@njit(_signatures(types.void, *_shape, types.float32, _in16, _u8, _u16, _u8, _i64), **_compiled)
def symbolise(
    target: Any,
    base: Any,
    mantissa: Any,
    exponents: Any,
    lift: Any,
    gain: Any,
    folds: Any,
    scales: Any,
    cells: Any,
    raws: Any,
    cursors: Any,
) -> None:
    """The scale of every group, and for the elements of the changed ones cell and raw bytes.

    A cell is context · 1,024 + symbol, the symbol being what ``folds`` has in its place. Raw
    stream k grows from ``cursors[k]``, which ends behind it; each has room for all elements.
    """
    width = target.itemsize
    top = _U32(8 * width - 1)
    steps = np.empty(GROUP, np.float32)
    zs, plain = np.empty(GROUP, np.uint32), np.empty(GROUP, np.uint32)
    folded = np.zeros(GROUP, np.uint16)
    fours = folded.view(np.uint64)
    for group in range(scales.size):
        start = group * GROUP
        words, below = target[start : start + GROUP], base[start : start + GROUP]
        if not _differs(words, below):
            scales[group] = UNCHANGED
            continue
        scale = _scale(words, below, steps, top, mantissa, gain)
        scales[group] = scale
        _differences(words, below, top, mantissa, exponents, _I32(lift - scale), zs, plain)
        chosen = cells[start : start + GROUP]
        for i in range(words.size):
            folded[i] = folds[np.uint64(plain[i])]
        for i in range(words.size):
            chosen[i] = folded[i]
        if width == 2:
            for i in range(words.size, GROUP):
                folded[i] = _U16(0)
            _put_raws16(folded, fours, zs, raws, cursors)
        else:
            _put_raws32(folded, words.size, zs, raws, cursors)


_tables = types.Array(types.uint16, 2, "C")


@njit(types.void(_tables, _in16, types.int64, _u32), **_compiled)
def fill_narrow_slots(frequencies: Any, names: Any, step: int, slots: Any) -> None:
    """Entries of all contexts from rows that each sum to 2,048; see ``slots.narrow_slots``."""
    at = 0
    for context in range(frequencies.shape[0]):
        for symbol in range(frequencies.shape[1]):
            frequency = _U32(frequencies[context, symbol])
            entry = _U32(_U32(names[symbol]) | _U32(frequency << _FREQUENCY_SHIFT))
            for within in range(0, frequency, step):
                slots[at] = _U32(entry | _U32(_U32(within) << _BIAS_SHIFT))
                at += 1


@njit(types.void(_tables, _in16, types.int64, _u16), **_compiled)
def fill_wide_slots(frequencies: Any, names: Any, step: int, slots: Any) -> None:
    """As :func:`fill_narrow_slots`; see ``slots.wide_slots``."""
    at = 0
    for context in range(frequencies.shape[0]):
        first = 0
        for symbol in range(frequencies.shape[1]):
            frequency = frequencies[context, symbol]
            for _ in range(0, frequency, step):
                slots[at], slots[at + 1], slots[at + 2] = names[symbol], frequency, first
                at += 4
            first += frequency


@njit(types.int64(_in16, _in8, _in32, _in32, _inf64, _u16), **_compiled)
def encode(
    cells: Any, scales: Any, frequencies: Any, firsts: Any, inverses: Any, words: Any
) -> int:
    """Write the states and words of all cells to the end of ``words``; where they begin.

    A frequency divides a state by its inverse in double precision, which is exact below 2^32.
    """
    states = np.full(LANES, _LOWEST, np.uint32)
    at = np.uint64(words.size)
    for group in range(scales.size - 1, -1, -1):
        if scales[group] == UNCHANGED:
            continue
        chosen = cells[group * GROUP : (group + 1) * GROUP]
        for back in range(chosen.size):
            i = np.uint64(chosen.size - 1 - back)
            lane, cell = i & np.uint64(LANES - 1), np.uint64(chosen[i])
            state, frequency = states[lane], frequencies[cell]
            full = _U32(_U32(state >> _U32(21)) >= frequency)
            words[at - np.uint64(1)] = _U16(state & _WORD_MASK)
            at -= np.uint64(full)
            state = _U32(state >> _U32(full << _U32(4)))
            share = _U32(np.int64((np.float64(state) + 0.5) * inverses[cell]))
            step = _U32(share * _U32(_U32(2048) - frequency))
            states[lane] = _U32(_U32(state + firsts[cell]) + step)
    for lane in range(LANES - 1, -1, -1):
        at -= np.uint64(2)
        words[at] = _U16(states[lane] & _WORD_MASK)
        words[at + np.uint64(1)] = _U16(states[lane] >> _WORD_BITS)
    return int(at)
