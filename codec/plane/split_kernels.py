"""Compiled loops between words and byte planes, alone or as XOR with a base.

Importing this module compiles every kernel for its one signature, or loads it from Numba's cache
on disk. Kernels check nothing: ``codec.plane.planes`` passes arrays of matching lengths. They
release the GIL, keep no state and leave their inputs alone. ``tests/codec/naive.py`` says in plain
NumPy what each means.

Planes run from the most significant byte to the least and stand one after the other in memory. In
the ``fields`` kernels the sign bit sits below the eight exponent bits, so that the first plane is
the exponent and nothing else.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from codec.machine.compiling import njit

Plane = NDArray[np.uint8]
Words16 = NDArray[np.uint16]
Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]
Kernel = Callable[..., None]

_u8 = types.Array(types.uint8, 1, "C")
_u16 = types.Array(types.uint16, 1, "C")
_u32 = types.Array(types.uint32, 1, "C")
_u64 = types.Array(types.uint64, 1, "C")
_in8 = types.Array(types.uint8, 1, "C", readonly=True)
_in16 = types.Array(types.uint16, 1, "C", readonly=True)
_in32 = types.Array(types.uint32, 1, "C", readonly=True)
_in64 = types.Array(types.uint64, 1, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


@njit(types.void(_in16, _u8), **_compiled)
def _split16(words: Words16, planes: Plane) -> None:
    n = words.size
    p0, p1 = planes[:n], planes[n:]
    for i in range(n):
        word = words[i]
        p0[i] = np.uint8(word >> 8)
        p1[i] = np.uint8(word)


@njit(types.void(_in16, _u8), **_compiled)
def _split16_fields(words: Words16, planes: Plane) -> None:
    n = words.size
    p0, p1 = planes[:n], planes[n:]
    for i in range(n):
        word = words[i]
        p0[i] = np.uint8(word >> 7)
        p1[i] = np.uint8((word & 0x7F) | ((word >> 8) & 0x80))


@njit(types.void(_in16, _in16, _u8), **_compiled)
def _split16_xor(words: Words16, base: Words16, planes: Plane) -> None:
    n = words.size
    p0, p1 = planes[:n], planes[n:]
    for i in range(n):
        word = words[i] ^ base[i]
        p0[i] = np.uint8(word >> 8)
        p1[i] = np.uint8(word)


@njit(types.void(_in8, _in8, _u16), **_compiled)
def _merge16(p0: Plane, p1: Plane, words: Words16) -> None:
    for i in range(words.size):
        words[i] = (np.uint16(p0[i]) << 8) | np.uint16(p1[i])


@njit(types.void(_in8, _in8, _u16), **_compiled)
def _merge16_fields(p0: Plane, p1: Plane, words: Words16) -> None:
    for i in range(words.size):
        low = np.uint16(p1[i])
        words[i] = (np.uint16(p0[i]) << 7) | (low & 0x7F) | ((low & 0x80) << 8)


@njit(types.void(_in8, _in8, _in16, _u16), **_compiled)
def _merge16_xor(p0: Plane, p1: Plane, base: Words16, words: Words16) -> None:
    for i in range(words.size):
        words[i] = ((np.uint16(p0[i]) << 8) | np.uint16(p1[i])) ^ base[i]


@njit(types.void(_in32, _u8), **_compiled)
def _split32(words: Words32, planes: Plane) -> None:
    n = words.size
    p0, p1, p2, p3 = planes[:n], planes[n : 2 * n], planes[2 * n : 3 * n], planes[3 * n :]
    for i in range(n):
        word = words[i]
        p0[i] = np.uint8(word >> 24)
        p1[i] = np.uint8(word >> 16)
        p2[i] = np.uint8(word >> 8)
        p3[i] = np.uint8(word)


@njit(types.void(_in32, _u8), **_compiled)
def _split32_fields(words: Words32, planes: Plane) -> None:
    n = words.size
    p0, p1, p2, p3 = planes[:n], planes[n : 2 * n], planes[2 * n : 3 * n], planes[3 * n :]
    for i in range(n):
        word = words[i]
        p0[i] = np.uint8(word >> 23)
        p1[i] = np.uint8(((word >> 16) & 0x7F) | ((word >> 24) & 0x80))
        p2[i] = np.uint8(word >> 8)
        p3[i] = np.uint8(word)


@njit(types.void(_in32, _in32, _u8), **_compiled)
def _split32_xor(words: Words32, base: Words32, planes: Plane) -> None:
    n = words.size
    p0, p1, p2, p3 = planes[:n], planes[n : 2 * n], planes[2 * n : 3 * n], planes[3 * n :]
    for i in range(n):
        word = words[i] ^ base[i]
        p0[i] = np.uint8(word >> 24)
        p1[i] = np.uint8(word >> 16)
        p2[i] = np.uint8(word >> 8)
        p3[i] = np.uint8(word)


@njit(types.void(_in8, _in8, _in8, _in8, _u32), **_compiled)
def _merge32(p0: Plane, p1: Plane, p2: Plane, p3: Plane, words: Words32) -> None:
    for i in range(words.size):
        high = (np.uint32(p0[i]) << 24) | (np.uint32(p1[i]) << 16)
        words[i] = high | (np.uint32(p2[i]) << 8) | np.uint32(p3[i])


@njit(types.void(_in8, _in8, _in8, _in8, _u32), **_compiled)
def _merge32_fields(p0: Plane, p1: Plane, p2: Plane, p3: Plane, words: Words32) -> None:
    for i in range(words.size):
        second = np.uint32(p1[i])
        high = (np.uint32(p0[i]) << 23) | ((second & 0x7F) << 16) | ((second & 0x80) << 24)
        words[i] = high | (np.uint32(p2[i]) << 8) | np.uint32(p3[i])


@njit(types.void(_in8, _in8, _in8, _in8, _in32, _u32), **_compiled)
def _merge32_xor(p0: Plane, p1: Plane, p2: Plane, p3: Plane, base: Words32, words: Words32) -> None:
    for i in range(words.size):
        high = (np.uint32(p0[i]) << 24) | (np.uint32(p1[i]) << 16)
        words[i] = (high | (np.uint32(p2[i]) << 8) | np.uint32(p3[i])) ^ base[i]


@njit(types.void(_in64, _u8), **_compiled)
def _split64(words: Words64, planes: Plane) -> None:
    n = words.size
    for k in range(8):
        shift = np.uint64(56 - 8 * k)
        plane = planes[k * n : (k + 1) * n]
        for i in range(n):
            plane[i] = np.uint8(words[i] >> shift)


@njit(types.void(_in8, _in8, _in8, _in8, _in8, _in8, _in8, _in8, _u64), **_compiled)
def _merge64(
    p0: Plane,
    p1: Plane,
    p2: Plane,
    p3: Plane,
    p4: Plane,
    p5: Plane,
    p6: Plane,
    p7: Plane,
    words: Words64,
) -> None:
    for i in range(words.size):
        words[i] = (
            (np.uint64(p0[i]) << np.uint64(56))
            | (np.uint64(p1[i]) << np.uint64(48))
            | (np.uint64(p2[i]) << np.uint64(40))
            | (np.uint64(p3[i]) << np.uint64(32))
            | (np.uint64(p4[i]) << np.uint64(24))
            | (np.uint64(p5[i]) << np.uint64(16))
            | (np.uint64(p6[i]) << np.uint64(8))
            | np.uint64(p7[i])
        )


SPLIT: Final[dict[int, Kernel]] = {2: _split16, 4: _split32, 8: _split64}
"""By word width: ``(words, planes)`` cuts words into their bytes."""
SPLIT_FIELDS: Final[dict[int, Kernel]] = {2: _split16_fields, 4: _split32_fields}
"""As SPLIT, with the exponent on its own."""
SPLIT_XOR: Final[dict[int, Kernel]] = {2: _split16_xor, 4: _split32_xor}
"""``(words, base, planes)`` cuts the XOR of words and base into bytes."""
MERGE: Final[dict[int, Kernel]] = {2: _merge16, 4: _merge32, 8: _merge64}
"""``(plane, plane, ..., words)`` undoes SPLIT."""
MERGE_FIELDS: Final[dict[int, Kernel]] = {2: _merge16_fields, 4: _merge32_fields}
"""``(plane, plane, ..., words)`` undoes SPLIT_FIELDS."""
MERGE_XOR: Final[dict[int, Kernel]] = {2: _merge16_xor, 4: _merge32_xor}
"""``(plane, plane, ..., base, words)`` undoes SPLIT_XOR."""
