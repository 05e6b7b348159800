"""Compiled loops of casts: words of one float type to those of another, and back where exact.

Importing this module compiles every kernel for its one signature, or loads it from Numba's cache on
disk. ``codec.elements.casts`` passes arrays of one length; ``tests/codec/elements/naive.py`` says
in plain Python what each means. All but two are integers throughout; the two add floats of 32 bits,
which every processor rounds to nearest even.
"""

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from codec.machine.compiling import njit

_U8, _U16, _U32, _F32 = np.uint8, np.uint16, np.uint32, np.float32
_u8, _u16, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint16, types.uint32))
_in8, _in16, _in32 = (
    types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint16, types.uint32)
)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}

_MAGNITUDE: Final = _U32(0x7FFFFFFF)
_INFINITY: Final = _U32(0x7F800000)
HALF_OVERFLOW: Final = _U32(0x477FF000)
"""65520 as a 32-bit float: from here on F16 has only infinity."""
HALF_NORMAL: Final = _U32(0x38800000)
"""2^-14 as a 32-bit float: below it F16 is denormal."""
HALF_STEP: Final = _U32(0x3F000000)
"""0.5 as a 32-bit float: its last bit is the smallest denormal of F16, 2^-24."""
HALF_REBIAS: Final = _U32(112 << 23)
"""Between the exponents of F16 and of 32-bit floats."""


def _bitcast(result: Any, argument: Any, name: str) -> Any:
    """An intrinsic that reads the bits of one 32-bit type as those of another."""

    def generate(_typing_context: Any, _value: Any) -> Any:
        def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(result))

        return result(argument), build

    generate.__name__ = name
    return intrinsic(generate)


as_float: Any = _bitcast(types.float32, types.uint32, "as_float")
as_bits: Any = _bitcast(types.uint32, types.float32, "as_bits")


@njit(inline="always")
def single_of_half_word(half: Any) -> Any:
    """F32 of F16, exact; NaNs keep sign and payload."""
    word = _U32(half)
    magnitude = _U32(_U32(word & _U32(0x7FFF)) << _U32(13))
    normal = _U32(magnitude + HALF_REBIAS)
    beyond = _U32(normal + HALF_REBIAS)
    small = as_bits(_F32(as_float(_U32(magnitude | HALF_NORMAL)) - as_float(HALF_NORMAL)))
    bits = beyond if magnitude >= _U32(0x0F800000) else normal
    # Adding the implied bit and taking it away again is what makes denormals normal.
    bits = small if magnitude < _U32(0x00800000) else bits
    return _U32(bits | _U32(_U32(word & _U32(0x8000)) << _U32(16)))


@njit(inline="always")
def half_of_single_word(word: Any) -> Any:
    """F16 of F32, to nearest even; NaNs keep sign and upper payload and become quiet."""
    magnitude = _U32(word & _MAGNITUDE)
    odd = _U32(_U32(magnitude >> _U32(13)) & _U32(1))
    normal = _U32(_U32(_U32(magnitude - HALF_REBIAS) + _U32(0xFFF) + odd) >> _U32(13))
    summed = as_bits(_F32(as_float(magnitude) + as_float(HALF_STEP)))
    half = _U32(summed - HALF_STEP) if magnitude < HALF_NORMAL else normal
    half = _U32(0x7C00) if magnitude >= HALF_OVERFLOW else half
    payload = _U32(_U32(magnitude >> _U32(13)) & _U32(0x3FF))
    half = _U32(_U32(0x7E00) | payload) if magnitude > _INFINITY else half
    return _U16(_U32(half | _U32(_U32(word >> _U32(16)) & _U32(0x8000))))


@njit(inline="always")
def brain_of_single_word(word: Any) -> Any:
    """BF16 of F32, to nearest even; NaNs keep sign and upper payload and become quiet."""
    top = _U32(word >> _U32(16))
    carried = _U32(_U32(word + _U32(0x7FFF) + _U32(top & _U32(1))) >> _U32(16))
    is_nan = _U32(word & _MAGNITUDE) > _INFINITY
    return _U16(_U32(top | _U32(0x40)) if is_nan else carried)


@njit(types.void(_in16, _u32), **_compiled)
def single_of_brain(words: Any, out: Any) -> None:
    """F32 of BF16."""
    for i in range(words.size):
        out[i] = _U32(words[i]) << _U32(16)


@njit(types.void(_in16, _u32), **_compiled)
def single_of_half(words: Any, out: Any) -> None:
    """F32 of F16."""
    for i in range(words.size):
        out[i] = single_of_half_word(words[i])


@njit(types.void(_in32, _u16), **_compiled)
def brain_of_single(words: Any, out: Any) -> None:
    """BF16 of F32."""
    for i in range(words.size):
        out[i] = brain_of_single_word(words[i])


@njit(types.void(_in32, _u16), **_compiled)
def half_of_single(words: Any, out: Any) -> None:
    """F16 of F32."""
    for i in range(words.size):
        out[i] = half_of_single_word(words[i])


@njit(types.void(_in16, _u16), **_compiled)
def brain_of_half(words: Any, out: Any) -> None:
    """BF16 of F16, by way of F32."""
    for i in range(words.size):
        out[i] = brain_of_single_word(single_of_half_word(words[i]))


@njit(types.void(_in16, _u16), **_compiled)
def half_of_brain(words: Any, out: Any) -> None:
    """F16 of BF16, by way of F32."""
    for i in range(words.size):
        out[i] = half_of_single_word(_U32(_U32(words[i]) << _U32(16)))


@njit(types.boolean(_in32, _u16), **_compiled)
def narrow_to_brain(words: Any, out: Any) -> bool:
    """The BF16 words that these are when cast up; False if there are none."""
    lost = _U32(0)
    for i in range(words.size):
        lost |= words[i]
        out[i] = _U16(words[i] >> _U32(16))
    return _U32(lost & _U32(0xFFFF)) == _U32(0)


@njit(types.boolean(_in32, _u16), **_compiled)
def narrow_to_half(words: Any, out: Any) -> bool:
    """The F16 words that these are when cast up; False if there are none."""
    lost = _U32(0)
    for i in range(words.size):
        half = half_of_single_word(words[i])
        lost |= _U32(single_of_half_word(half) ^ words[i])
        out[i] = half
    return lost == _U32(0)


@njit(types.void(_in8, _u16), **_compiled)
def spread(words: Any, out: Any) -> None:
    """Words of 8 bits in 16, the sign on top and the rest below."""
    for i in range(words.size):
        word = _U32(words[i])
        out[i] = _U16(_U32(word & _U32(0x7F)) | _U32(_U32(word & _U32(0x80)) << _U32(8)))


@njit(types.void(_in16, _u8), **_compiled)
def close_up(words: Any, out: Any) -> None:
    """Undoes :func:`spread`."""
    for i in range(words.size):
        word = _U32(words[i])
        out[i] = _U8(_U32(word & _U32(0x7F)) | _U32(_U32(word >> _U32(8)) & _U32(0x80)))
