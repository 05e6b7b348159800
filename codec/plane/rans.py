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
_START: Final = np.uint32(1 << 16)
_STRIDE, _FEWEST = 2056, 64
_EXPONENT_SHIFT: Final = 7
"""Where an exponent lies in the upper 16 bits of a word."""


def count_bytes(plane: Bytes) -> Counts:
    """How often each byte occurs in a plane."""
    from codec.plane import kernels

    counts = np.empty(256, np.uint32)
    kernels.count(plane, counts)
    return counts


def weigh_bytes(plane: Bytes) -> Counts:
    """About how often each byte occurs in a plane, and at least once if it does at all.

    Exact, unless all that occur are within 64 of which the first is a multiple of that: the
    exponents of ordinary weights. Then a quarter of the plane stands for all of it.
    """
    from codec.plane import kernels

    parts = plane.size // _STRIDE
    base = plane[0] & np.uint8(192) if parts else np.uint8(0)
    found = int(kernels.present(plane, base)) if parts >= _FEWEST else 0
    if not found:
        return count_bytes(plane)
    quarter = plane[: parts * _STRIDE].reshape(parts, _STRIDE)[:, : _STRIDE // 4]
    counts = count_bytes(quarter.reshape(-1)) * np.uint32(4)
    bits = np.unpackbits(np.frombuffer(found.to_bytes(8, "little"), np.uint8), bitorder="little")
    window = counts[int(base) : int(base) + 64]
    np.maximum(window, bits, out=window)
    return counts


def code_nbytes(counts: Counts) -> float:
    """Length of bytes that occur so often under an ideal code for them, without its description."""
    used = counts[counts > 0].astype(np.float64)
    return float((used * np.log2(used.sum() / used)).sum()) / 8 if used.size else 0.0


def stream_nbytes(counts: Counts, scale: float = 1.0) -> float:
    """Length, within some bytes, of the stream of a plane with ``scale`` times these counts.

    A fifth of what the states take is symbols that need no words.
    """
    from codec.plane import kernels

    used = counts > 0
    frequencies = np.empty(256, np.uint16)
    kernels.apportion(counts, frequencies)
    bits = float(counts[used] @ np.log2(_SLOTS / frequencies[used]))
    return scale * bits / 8 + 1.25 * np.count_nonzero(used) + 0.8 * _STATES_NBYTES


def pack_rans(plane: Bytes, counts: Counts) -> bytes:
    """The stream of a plane of at least two different bytes, of which ``counts`` are given."""
    from codec.plane import kernels

    frequencies = np.empty(256, np.uint16)
    kernels.apportion(counts, frequencies)
    code = np.empty(512, np.uint16), np.empty(_SLOTS, np.uint16)
    kernels.number_slots(frequencies, *code)
    states = np.full(_LANES, _START)
    words = SCRATCH.buffer("words", 2 * plane.size).view(np.uint16)
    at, whole = words.size, plane.size - plane.size % _LANES
    if whole < plane.size:
        at = kernels.encode(plane[whole:], *code, states, words, at)
    at = _row_encoder()(plane[:whole], *code, states, words, at)
    return b"".join([store_frequencies(frequencies), states.astype("<u4").data, words[at:].data])


def store_frequencies(frequencies: NDArray[np.uint16]) -> bytes:
    """The stored form of 256 frequencies that sum to 4,096, of which none is that."""
    stored = bytearray()
    missing = 0
    for frequency in frequencies[: int(np.flatnonzero(frequencies)[-1]) + 1].tolist():
        if not frequency:
            missing += 1
            continue
        if missing:
            stored += bytes((0, missing - 1))
            missing = 0
        stored += bytes((frequency,)) if frequency < 128 else (frequency | 1 << 15).to_bytes(2)
    return bytes(stored)


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
        if self.at != self.end or not np.all(self.states == _START):
            raise CorruptFrame("a stream does not end where its plane does")
