"""One stream of bytes, usually a plane of a block, in the shortest of four codings."""

import struct
from enum import IntEnum
from typing import Final

import numpy as np
import zstandard

from codec.buffers import Bytes
from codec.errors import CorruptFrame
from codec.plane.rans import Counts, count_bytes, pack_rans, unpack_rans
from codec.scratch import SCRATCH

STREAM_HEADER: Final = struct.Struct("<BI")
"""Coding and stored length, in front of the streams of a block."""

_GLANCE: Final = 256
"""A look at this many bytes tells nearly every stream that is not constant."""
_SHORT, _BRIEF = 1 << 12, 1 << 15
"""Streams too short for rANS, whose states alone take 512 bytes, and for telling without trying."""
_WORTH: Final = 0.985
_STRETCHES, _STRETCH = 67, 256
_WINDOW: Final = 1 << 13
_PATTERNED: Final = 0.93
"""A plane with less than this of the changes, or of the length, that chance would give it."""


class Coding(IntEnum):
    """How a stream is stored: as it is, as its one byte value, as one zstd frame, or as rANS."""

    RAW = 0
    CONSTANT = 1
    ZSTD = 2
    RANS = 3


def pack_stream(plain: Bytes) -> tuple[Coding, bytes | memoryview]:
    """The shortest coding of a stream without rANS; a raw one is a view of it, not a copy."""
    if plain.size > 1 and _is_constant(plain[:_GLANCE]) and _is_constant(plain):
        return Coding.CONSTANT, plain[:1].tobytes()
    packed = SCRATCH.entropy.compress(plain.data)
    if len(packed) < plain.size:
        return Coding.ZSTD, packed
    return Coding.RAW, plain.data


def pack_plane(plane: Bytes) -> tuple[Coding, bytes | memoryview]:
    """The coding for a plane of a tensor, told by how often each byte occurs in 16 KiB of it.

    zstd is only tried on short planes and on those whose bytes are not in a random order.
    """
    from codec.plane import survey

    if plane.size < _SHORT:
        return pack_stream(plane)
    glimpse = _glimpse(plane)
    counts = count_bytes(glimpse)
    expected = survey.stream_nbytes(counts, plane.size / glimpse.size)
    if plane.size < _BRIEF or _is_patterned(plane, glimpse, counts):
        coding, packed = pack_stream(plane)
        if len(packed) <= expected and worth_coding(len(packed), plane.size):
            return coding, packed
    if not worth_coding(expected, plane.size):
        return Coding.RAW, plane.data
    survey.weigh(plane, counts)
    return Coding.RANS, pack_rans(plane, counts)


def worth_coding(nbytes: float, plane_nbytes: float) -> bool:
    """Whether a coded plane is so much shorter than a raw one, which is free to read."""
    return nbytes <= plane_nbytes * _WORTH


def _glimpse(plane: Bytes) -> Bytes:
    """Short stretches from all over a plane, at distances that rows of tensors do not have."""
    stride = plane.size // _STRETCHES
    if stride < 2 * _STRETCH:
        return plane
    parts = plane[: _STRETCHES * stride].reshape(_STRETCHES, stride)
    return parts[:, :_STRETCH].reshape(-1)


def _is_patterned(plane: Bytes, glimpse: Bytes, counts: Counts) -> bool:
    """Whether equal bytes stand together, or zstd finds repetitions in a part of the plane."""
    from codec.plane import survey

    if survey.restlessness(glimpse, counts) <= _PATTERNED:
        return True
    start = max(0, plane.size - _WINDOW) // 2
    window = plane[start : start + _WINDOW]
    packed = SCRATCH.entropy.compress(window.data)
    return len(packed) < _PATTERNED * survey.code_nbytes(counts) * window.size / glimpse.size


def _is_constant(plain: Bytes) -> bool:
    return bool((plain == plain[0]).all())


def unpack_stream(coding: int, stored: Bytes, nbytes: int, purpose: str) -> Bytes:
    """The ``nbytes`` of a stream; some codings leave them in the scratch buffer ``purpose``.

    Raises CorruptFrame unless ``stored`` is exactly one such stream.
    """
    if coding == Coding.RAW:
        if stored.size != nbytes:
            raise CorruptFrame(f"a raw stream of {nbytes} bytes takes {stored.size}")
        return stored
    if coding == Coding.CONSTANT:
        if stored.size != 1:
            raise CorruptFrame(f"a constant stream takes {stored.size} bytes")
        plain = SCRATCH.buffer(purpose, nbytes)
        plain.fill(stored[0])
        return plain
    if coding == Coding.ZSTD:
        return unpack_zstd(stored, nbytes)
    if coding == Coding.RANS:
        plain = SCRATCH.buffer(purpose, nbytes)
        unpack_rans(stored, plain)
        return plain
    raise CorruptFrame(f"unknown coding {coding} of a stream")


def unpack_zstd(stored: Bytes, nbytes: int) -> Bytes:
    """One whole zstd frame of exactly ``nbytes``; its own length field is checked before use."""
    try:
        if zstandard.frame_content_size(stored.data) != nbytes:
            raise CorruptFrame("a zstd frame announces another length than its stream has")
        plain = SCRATCH.zstd.decompress(stored.data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptFrame(f"zstd: {error}") from None
    return np.frombuffer(plain, np.uint8)
