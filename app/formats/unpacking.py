"""What compressed files hold, as joblib sees them, as far as it can be read.

Only for a process that may be killed: the bytes say how much memory is taken.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import lz4.frame

PIECE_NBYTES = 1 << 16
UNPACKED_NBYTES = 256 << 20
"""Looked at of what was compressed."""

_FAULTS = (OSError, EOFError, RuntimeError, ValueError, MemoryError, lzma.LZMAError, zlib.error)


def unpacked(file: IO[bytes]) -> IO[bytes] | None:
    """What a compressed file holds, up to ``UNPACKED_NBYTES`` and a fault; None if that is nothing.

    Told by its first bytes, as joblib tells before it unpickles.
    """
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    opened = next((way for magic, way in _COMPRESSIONS.items() if head.startswith(magic)), None)
    if opened is None:
        return None
    out = bytearray()
    try:
        for piece in opened(file):
            out += piece
            if len(out) >= UNPACKED_NBYTES:
                break
    except _FAULTS:  # what came before it would be loaded all the same
        pass
    return io.BytesIO(out) if out else None


def _read(stream: io.BufferedIOBase) -> Iterator[bytes]:
    while piece := stream.read(PIECE_NBYTES):
        yield piece


def _inflate(file: IO[bytes]) -> Iterator[bytes]:
    """Streams of zlib, one behind the other; a piece becomes a thousand times as long at most."""
    inflater = zlib.decompressobj()
    while data := inflater.unused_data or file.read(PIECE_NBYTES >> 4):
        if inflater.eof:
            inflater = zlib.decompressobj()
        yield inflater.decompress(data)


_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Iterator[bytes]]] = {
    b"\x1f\x8b": lambda file: _read(gzip.open(file)),  # noqa: SIM115  closed by whose it is
    b"BZ": lambda file: _read(bz2.open(file)),  # noqa: SIM115
    b"\xfd7zXZ": lambda file: _read(lzma.open(file)),  # noqa: SIM115
    b"\x5d\x00": lambda file: _read(lzma.open(file)),  # noqa: SIM115
    b"\x04\x22\x4d\x18": lambda file: _read(lz4.frame.open(file)),
    b"x": _inflate,
}
