"""What decoding CTX does to thirty-two words of 16 bits at a time, whatever the registers are.

Imported only where ``codec.machine.instructions`` finds vectors. Two words stay in the room of one
of 32 bits wherever they can: context, symbol and difference. Only states and table entries need 32.
"""

from typing import Any, Final

import numpy as np

from codec.context import vectors as pair
from codec.context.alphabet import MARK
from codec.context.kernels import GROUP
from codec.machine import vectors16 as half
from codec.machine.compiling import njit
from codec.machine.vectors16 import LANES

_HIGHEST: Final = 15
_SELDOM: Final = 320
"""Words to a raw byte where one of five times 64 words has any."""
_U16: Any = np.uint16
_U32: Any = np.uint32


@njit(inline="always")
def shape_of(mantissa: Any, exponents: Any) -> Any:
    """The exponent of a word, that of the last context, and what makes a context of it."""
    return (
        half.splat(_U16(exponents << mantissa)),
        half.splat(_U16(_U32(_HIGHEST) << mantissa)),
        half.splat(_U16(_U32(1) << _U32(_U32(11) - mantissa))),
    )


@njit(inline="always")
def bounds(scale: Any, mantissa: Any, lift: Any) -> Any:
    """What to add to an exponent in its place, and what to take off, for its context there."""
    above = np.int64(lift) - np.int64(scale)
    up = min(max(above, 0), _HIGHEST + 1) << np.int64(mantissa)
    down = min(max(-above, 0), 0xFFFF >> np.int64(mantissa)) << np.int64(mantissa)
    return half.splat(_U16(up)), half.splat(_U16(down))


@njit(inline="always")
def contexts(under: Any, shape: Any, up: Any, down: Any) -> Any:
    """Where in the table the contexts of 32 base words begin."""
    exponents, highest, factor = shape
    above = pair.add_capped(pair.subtract_floored(half.both(under, exponents), down), up)
    return half.multiply(pair.smaller(above, highest), factor)


@njit(inline="always")
def symbols_of(lower: Any, upper: Any) -> Any:
    """Symbols of two times sixteen table entries."""
    return half.both(pair.narrow(lower, upper), half.splat(_U16(1023)))


@njit(inline="always")
def joined(symbols: Any, raws: Any, first: Any) -> Any:
    """Differences of 32 symbols with at most one raw byte each, those bytes, and what follows."""
    some = pair.beyond(symbols, half.splat(_U16(511)))
    lower = pair.spread_bytes(raws, first, some)
    known = half.choose(some, pair.swap_bytes(symbols), symbols)
    return pair.differ(known, lower), lower, first + half.count(some)


@njit(inline="always")
def escaped(symbols: Any, joined: Any, lower: Any, raws: Any, second: Any) -> Any:
    """Differences where some are all raw."""
    both = half.equal(symbols, half.splat(_U16(1023)))
    upper = half.shift_up(pair.spread_bytes(raws, second, both), half.splat(_U16(8)))
    whole = half.either(upper, pair.differ(lower, half.splat(_U16(MARK))))
    return half.choose(both, whole, joined), second + half.count(both)


@njit(inline="always")
def has_many(raws: int, out: Any) -> Any:
    """Whether so many raw bytes are left that to ask for them each time takes more than it saves.

    A question about 64 words whose answer is mostly the same costs less than to find no byte.
    """
    return raws * _SELDOM > out.size


@njit(inline="always")
def has_raw(y0: Any, y1: Any) -> Any:
    """Whether any of two times 32 symbols has a raw byte.

    What follows from it stands in each kernel: Numba counts references to arrays at every step
    where a function that it puts in place of its call has a branch.
    """
    return pair.is_any(pair.beyond(pair.larger(y0, y1), half.splat(_U16(511))))


@njit(inline="always")
def has_escape(y0: Any, y1: Any) -> Any:
    """Whether any of two times 32 symbols says that its word is all raw."""
    return pair.is_any(half.equal(pair.larger(y0, y1), half.splat(_U16(1023))))


@njit(inline="always")
def _ordered(words: Any) -> Any:
    return pair.differ(words, half.both(pair.repeat_top(words), half.splat(_U16(0x7FFF))))


@njit(inline="always")
def restored(z: Any, under: Any, turn: Any) -> Any:
    """Words from their differences, the words of the base, and the turn of the alphabet."""
    odd = pair.subtract(half.splat(_U16(0)), half.both(z, half.splat(_U16(1))))
    step = pair.differ(half.shift_down(z, half.splat(_U16(1))), odd)
    if turn:
        place = half.add(half.both(under, half.splat(_U16(0x7FFF))), step)
        return pair.differ(_ordered(place), half.both(under, half.splat(_U16(0x8000))))
    return _ordered(half.add(_ordered(under), step))


@njit(inline="always")
def copy(base: Any, out: Any, start: int) -> None:
    """A group that does not differ from its base."""
    for i in range(start, start + GROUP, LANES):
        half.store(out, i, half.load(base, i))
