"""Compiled loops that count differing bits.

They check nothing: ``codec.choice.distance`` passes arrays of matching lengths.
``tests/codec/naive.py`` says in plain NumPy what each means.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from codec.machine.compiling import njit

Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]

_u32 = types.Array(types.uint32, 1, "C")
_in64 = types.Array(types.uint64, 1, "C", readonly=True)
_compiled: dict[str, Any] = {"nogil": True, "cache": True}


def _generate_popcount(_typing_context: Any, _word: Any) -> tuple[Any, Callable[..., Any]]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_popcount: Any = intrinsic(_generate_popcount)


@njit(types.uint64(_in64, _in64), **_compiled)
def differing_bits(a: Words64, b: Words64) -> np.uint64:
    """Number of bits in which two arrays of words differ."""
    total: Any = np.uint64(0)
    for i in range(a.size):
        total += _popcount(a[i] ^ b[i])
    return total


@njit(types.void(_in64, _in64, _u32), **_compiled)
def differing_bits_of(a: Words64, b: Words64, counts: Words32) -> None:
    """As :func:`differing_bits`, for each of the equal parts that ``counts`` has room for."""
    if not counts.size:
        return
    length = a.size // counts.size
    for part in range(counts.size):
        total: Any = np.uint64(0)
        for i in range(part * length, (part + 1) * length):
            total += _popcount(a[i] ^ b[i])
        counts[part] = np.uint32(total)
