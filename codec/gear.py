"""The compiled loop that looks for chunk boundaries; ``codec.cdc`` says what it means.

``tests/codec/naive.py`` says it in plain NumPy.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from codec.machine.compiling import njit

_in8 = types.Array(types.uint8, 1, "C", readonly=True)
_in64 = types.Array(types.uint64, 1, "C", readonly=True)


@njit(
    types.UniTuple(types.uint64, 2)(_in8, types.uint64, types.uint64, _in64), nogil=True, cache=True
)
def gear_scan(
    data: NDArray[np.uint8], state: Any, mask: np.uint64, gear: NDArray[np.uint64]
) -> tuple[np.uint64, np.uint64]:
    """Bytes taken until the rolling ``state`` has no bit of ``mask``, and that state.

    Takes all bytes, and returns one more than there are, when no such place exists.
    """
    for i in range(data.size):
        state = (state << np.uint64(1)) + gear[data[i]]
        if state & mask == np.uint64(0):
            return np.uint64(i + 1), state
    return np.uint64(data.size + 1), state
