"""A plane of bytes as one rANS stream, and such a stream as a plane or straight as words.

A stream is the code's frequencies, the states of the coder and its words;
``docs/formats/frame.md`` §2.2 has the format. Kernels are the widest that this process may use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.elements.dtypes import Layout
from codec.errors import CorruptFrame
from codec.scratch import SCRATCH

Counts = NDArray[np.uint32]

_SLOTS: Final = 4096
_LANES: Final = 128
_STATES_NBYTES: Final = 4 * _LANES
_ROOM_NBYTES: Final = 512
_STARTS: Final = np.full(_LANES, 1 << 16, np.uint32).tobytes()
"""The states of a coder before its first byte."""
_EXPONENT_SHIFT: Final = 7
"""Where an exponent lies in the upper 16 bits of a word."""


def count_bytes(plane: Bytes) -> Counts:
    """How often each byte occurs in a plane."""
    from codec.plane import kernels

    counts = np.empty(256, np.uint32)
    kernels.count(plane, counts)
    return counts


def pack_rans(plane: Bytes, counts: Counts) -> bytes:
    """The stream of a plane of at least two different bytes, of which ``counts`` are given."""
    from codec.plane import kernels

    frequencies = np.empty(256, np.uint16)
    kernels.apportion(counts, frequencies)
    code = np.empty(512, np.uint16), np.empty(_SLOTS, np.uint16)
    kernels.number_slots(frequencies, *code)
    states = np.frombuffer(bytearray(_STARTS), np.uint32)
    words = SCRATCH.buffer("words", 2 * plane.size).view(np.uint16)
    at, whole = words.size, plane.size - plane.size % _LANES
    if whole < plane.size:
        at = kernels.encode(plane[whole:], *code, states, words, at)
    at = _row_encoder()(plane[:whole], *code, states, words, at)
    stored = np.empty(512, np.uint8)
    stored = stored[: kernels.write_frequencies(frequencies, stored)]
    return b"".join([stored.data, states.astype("<u4").data, words[at:].data])


def unpack_rans(stored: Bytes, plane: Bytes) -> None:
    """Fill a plane from its stream; CorruptFrame unless ``stored`` is exactly one for it."""
    stream = _Stream.open(stored, 0, stored.size)
    stream.read(plane)
    stream.finish()


def merge_rans(
    stored: Bytes, start: int, stop: int, planes: Sequence[Bytes], layout: Layout, out: Bytes
) -> None:
    """Write words with fields: exponents from the stream ``stored[start:stop]``, the rest given.

    CorruptFrame unless that is exactly one stream for as many bytes as each of ``planes`` has.
    """
    from codec.plane import kernels
    from codec.plane.planes import merge

    stream = _Stream.open(stored, start, stop)
    count, done = planes[0].size, 0
    tables, kernel = np.empty(4 * kernels.FEW, np.uint16), _row_merger(layout.width)
    few = kernels.fill_registers(stream.frequencies, _EXPONENT_SHIFT, tables)
    if few and kernel is not None:
        done = count - count % _LANES
        stream.advance(kernel, tables, *planes, out)
    if done < count:
        exponents = SCRATCH.buffer("exponents", count - done)
        stream.read(exponents)
        merge([exponents, *(plane[done:] for plane in planes)], layout, out[done * layout.width :])
    stream.finish()


@lru_cache(maxsize=1)
def _row_encoder() -> Any:
    """The kernel for whole rows of 128 bytes."""
    from codec.machine.instructions import has_word_shuffles
    from codec.plane import kernels

    if not has_word_shuffles():
        return kernels.encode
    from codec.plane.encode import encode

    return encode


@lru_cache(maxsize=2)
def _row_merger(width: int) -> Any:
    """The kernel that makes whole rows of words of exponents in registers; None without it."""
    from codec.machine.instructions import has_word_shuffles, instruction_set

    if instruction_set() == "portable":
        return None
    if has_word_shuffles():
        from codec.plane import registers as kernels
    else:
        from codec.plane import shuffles as kernels
    return kernels.MERGE[width]


@lru_cache(maxsize=1)
def _row_decoder() -> Any:
    """The kernel for whole rows of 128 bytes; that for any without vectors."""
    from codec.machine.instructions import instruction_set
    from codec.plane import kernels

    if instruction_set() == "portable":
        return kernels.decode
    from codec.plane.wide import decode

    return decode


@dataclass(slots=True, eq=False)
class _Stream:
    """A stream being read: ``at`` is where its next word lies in ``stored``, ``end`` its end."""

    stored: Bytes
    at: int
    end: int
    frequencies: NDArray[np.uint16]
    states: NDArray[np.uint32]

    @classmethod
    def open(cls, stored: Bytes, start: int, stop: int) -> Self:
        """The stream at ``stored[start:stop]``, copied if there is no room to read behind it."""
        from codec.plane import kernels

        frequencies = np.empty(256, np.uint16)
        taken = kernels.read_frequencies(stored[start:stop], frequencies)
        at = start + taken + _STATES_NBYTES
        if taken < 0 or at > stop:
            raise CorruptFrame("a stream has no code, or ends before its words")
        states = stored[at - _STATES_NBYTES : at].copy().view("<u4")
        if stored.size - stop < _ROOM_NBYTES:
            whole = SCRATCH.buffer("stream", stop - at + _ROOM_NBYTES)
            whole[: stop - at] = stored[at:stop]
            stored, at, stop = whole, 0, stop - at
        return cls(stored, at, stop, frequencies, states)

    def read(self, plane: Bytes) -> None:
        """The next bytes of the plane; a multiple of 128 were read before."""
        from codec.plane import kernels

        slots, whole = np.empty(_SLOTS, np.uint32), plane.size - plane.size % _LANES
        kernels.fill_slots(self.frequencies, slots)
        self.advance(_row_decoder(), slots, plane[:whole])
        if whole < plane.size:
            self.advance(kernels.decode, slots, plane[whole:])

    def advance(self, kernel: Any, *arguments: Any) -> None:
        """Let a kernel read on; CorruptFrame if it needs more words than there are."""
        self.at = kernel(self.stored, self.at, self.end, self.states, *arguments)
        if self.at < 0:
            raise CorruptFrame("a stream is shorter than its plane")

    def finish(self) -> None:
        """CorruptFrame unless all was read and the coder is where the encoder began."""
        if self.at != self.end or self.states.tobytes() != _STARTS:
            raise CorruptFrame("a stream does not end where its plane does")
