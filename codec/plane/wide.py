"""Decoding planes of any symbols sixteen states at a time; as ``codec.plane.kernels.decode``.

Imported only where ``codec.machine.instructions`` finds vectors.
"""

from typing import Any

import numpy as np
from numba import types

from codec.machine.compiling import njit
from codec.machine.lookups import look_up
from codec.machine.vectors32 import LANES as WIDTH
from codec.machine.vectors32 import (
    add,
    below,
    both,
    choose,
    count,
    either,
    load,
    multiply,
    shift_down,
    shift_up,
    splat,
    spread_pairs,
    store,
)
from codec.plane.kernels import LANES

_U32: Any = np.uint32
_u8, _u32 = (types.Array(kind, 1, "C") for kind in (types.uint8, types.uint32))
_in8, _in32 = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.uint32))


@njit(types.int64(_in8, types.int64, types.int64, _u32, _in32, _u8), nogil=True, cache=True)
def decode(stream: Any, at: int, end: int, states: Any, slots: Any, plane: Any) -> int:
    """Restore the whole rows of 128 bytes of a plane; where the words end, −1 if beyond ``end``."""
    for first in range(0, plane.size - LANES + 1, LANES):
        for lane in range(0, LANES, WIDTH):
            held = load(states, lane)
            entries = look_up(slots, 0, both(held, splat(_U32(4095))))
            store(plane, first + lane, entries)
            frequencies = both(shift_down(entries, splat(_U32(8))), splat(_U32(4095)))
            grown = multiply(frequencies, shift_down(held, splat(_U32(12))))
            held = add(grown, shift_down(entries, splat(_U32(20))))
            short = below(held, splat(_U32(1 << 16)))
            filled = either(shift_up(held, splat(_U32(16))), spread_pairs(stream, at, short))
            store(states, lane, choose(short, filled, held))
            at += 2 * count(short)
        if at > end:
            return -1
    return at
