"""A block of CTX taken apart: where its streams lie, and what a kernel starts and ends with."""

import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.context.alphabet import MARK, Alphabet
from codec.errors import CorruptFrame
from codec.plane.streams import unpack_stream
from codec.scratch import SCRATCH

GROUP: Final = 256
LANES: Final = 64
STREAM_HEADER: Final = struct.Struct("<BII")
"""Coding, stored length and length of a stream."""
STATES_NBYTES: Final = 4 * LANES
START: Final = 1 << 16
"""The state that encoding begins with and decoding ends in."""

_HEADERS: Final = {width: struct.Struct("<" + "BII" * (1 + width)) for width in (2, 4)}
_STARTS: Final = np.full(LANES, START, "<u4").tobytes()
_ROOM: Final = 2 * GROUP
"""Bytes that a kernel may read behind the end of a raw stream before it notices."""
_TAIL_NBYTES: Final = 2048
"""Room of a kernel for the last words and as much again."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockStreams:
    """The streams of a block, as kernels take them.

    ``cursors`` and ``ends`` are places of the words in ``stored``, then of each raw stream in
    ``raws``; kernels move the cursors and states on.
    """

    stored: Bytes
    scales: Bytes
    raws: Bytes
    states: NDArray[np.uint32]
    cursors: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def cut(cls, stored: Bytes, alphabet: Alphabet, count: int, tail: int) -> Self:
        """Take a block of ``count`` words apart; CorruptFrame if that cannot be done."""
        width = alphabet.width
        header = _HEADERS[width]
        if stored.size < header.size:
            raise CorruptFrame("a block is shorter than its stream headers")
        fields = header.unpack_from(stored.data)
        codings, stored_nbytes, nbytes = fields[::3], fields[1::3], fields[2::3]
        if nbytes[0] != -(-count // GROUP) or max(nbytes[1:]) > count:
            raise CorruptFrame("a stream of a block has an impossible length")
        cuts = list(accumulate(stored_nbytes, initial=header.size))
        end = stored.size - tail
        words_nbytes = end - cuts[-1]
        if words_nbytes % 2 or (words_nbytes != 0 and words_nbytes < STATES_NBYTES):
            raise CorruptFrame("a block is shorter than its streams")
        scales = unpack_stream(codings[0], stored[cuts[0] : cuts[1]], nbytes[0], "scales")
        marked = width == 2 and not alphabet.has_signs
        plain = not marked and not any(codings[1:]) and stored_nbytes[1:] == nbytes[1:]
        if plain and stored.size - cuts[-1] >= _ROOM:
            raws, bounds = stored, cuts[1:]
        else:
            raws, bounds = _unpacked(stored, codings, cuts, nbytes)
            if marked:
                raws[: bounds[1]] ^= MARK
        states = np.frombuffer(_STARTS, np.uint32).copy()
        at = cuts[-1]
        if words_nbytes:
            states.view(np.uint8)[:] = stored[at : at + STATES_NBYTES]
            at += STATES_NBYTES
        cursors = np.array([at, *bounds[:-1]], np.int64)
        return cls(stored, scales, raws, states, cursors, np.array([end, *bounds[1:]], np.int64))

    @property
    def arguments(self) -> tuple[Bytes | NDArray[np.uint32] | NDArray[np.int64], ...]:
        """What every kernel takes first, with room to put the last words in."""
        room = SCRATCH.buffer("last words", _TAIL_NBYTES)
        return self.stored, room, self.raws, self.ends, self.cursors, self.states, self.scales

    def are_spent(self) -> bool:
        """Whether everything was read, and the coder is where the encoder began."""
        at_ends = self.cursors.tobytes() == self.ends.tobytes()
        return at_ends and self.states.tobytes() == _STARTS


def _unpacked(
    stored: Bytes, codings: tuple[int, ...], cuts: list[int], nbytes: tuple[int, ...]
) -> tuple[Bytes, list[int]]:
    """All raw streams in one buffer with room behind them, and where each begins and ends."""
    bounds = list(accumulate(nbytes[1:], initial=0))
    raws = SCRATCH.buffer("raws", bounds[-1] + _ROOM)
    for k in range(1, len(nbytes)):
        part = stored[cuts[k] : cuts[k + 1]]
        raws[bounds[k - 1] : bounds[k]] = unpack_stream(codings[k], part, nbytes[k], "raw")
    return raws, bounds
