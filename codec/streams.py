"""One stream of bytes, usually a plane of a block, as the shortest of three simple codings."""

import struct
from enum import IntEnum
from typing import Final

import numpy as np
import zstandard

from codec.buffers import Bytes
from codec.errors import CorruptFrame
from codec.scratch import SCRATCH

STREAM_HEADER: Final = struct.Struct("<BI")
"""Coding and stored length, in front of the streams of a block."""


_GLANCE: Final = 256
"""A look at this many bytes tells nearly every stream that is not constant."""


class Coding(IntEnum):
    """How a stream is stored: as it is, as its one byte value, or as one zstd frame."""

    RAW = 0
    CONSTANT = 1
    ZSTD = 2


def pack_stream(plain: Bytes) -> tuple[Coding, bytes | memoryview]:
    """The shortest coding of a stream; a raw one is a view of it, not a copy."""
    if plain.size > 1 and _is_constant(plain[:_GLANCE]) and _is_constant(plain):
        return Coding.CONSTANT, plain[:1].tobytes()
    packed = SCRATCH.entropy.compress(plain.data)
    if len(packed) < plain.size:
        return Coding.ZSTD, packed
    return Coding.RAW, plain.data


def _is_constant(plain: Bytes) -> bool:
    return bool((plain == plain[0]).all())


def unpack_stream(coding: int, stored: Bytes, nbytes: int, purpose: str) -> Bytes:
    """The ``nbytes`` of a stream; a constant one stands in the scratch buffer ``purpose``.

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
