"""Views of callers' buffers, and sources that hand out slices on demand; nothing is copied here."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

Bytes = NDArray[np.uint8]
"""A one-dimensional, contiguous array of bytes: how buffers travel inside the package."""


class _Exporter(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...


Buffer = _Exporter | NDArray[Any]
"""Anything with the buffer protocol: bytes, bytearray, memoryview, mmap, array, ndarray."""

RangeReader = Callable[[int, int], Buffer]
"""``read(start, stop)`` returns exactly those bytes of something too big or too far to hold."""

Source = Buffer | RangeReader


def byte_view(buffer: Buffer) -> Bytes:
    """The bytes of a C-contiguous buffer, as a read-only or writable array over the same memory."""
    if isinstance(buffer, np.ndarray):
        if buffer.ndim == 1 and buffer.dtype == np.uint8 and buffer.flags.c_contiguous:
            return buffer
        if not buffer.flags.c_contiguous:
            raise ValueError("the array is not C-contiguous")
        return buffer.reshape(-1).view(np.uint8)
    view = memoryview(buffer)
    if not view.c_contiguous:
        raise ValueError("the buffer is not C-contiguous")
    return np.frombuffer(view if view.nbytes else b"", np.uint8)


def writable_view(buffer: Buffer, nbytes: int) -> Bytes:
    """A writable view of a buffer of exactly ``nbytes``; ValueError if it is anything else."""
    view = byte_view(buffer)
    if view.size != nbytes:
        raise ValueError(f"out holds {view.size} bytes, {nbytes} are needed")
    if nbytes and not view.flags.writeable:
        raise ValueError("out is read-only")
    return view


def checksum(data: Bytes) -> int:
    """The xxh3-64 of some bytes, which finds rot and mix-ups; it is no proof against forgery."""
    return xxh3_64_intdigest(data.data)


def read_range(source: Source, start: int, stop: int) -> Bytes:
    """Bytes ``start:stop`` of a source; fewer if it ends before ``stop``."""
    if callable(source):
        return byte_view(source(start, stop))
    return byte_view(source)[start:stop]
