"""Stored files as xorbs that exist on the wire only: cut at fixed places, never compressed.

Clients with Xet read a file as terms: ranges of chunks in xorbs. Our bytes lie as tensors, so the
xorbs are made while they are sent: every :data:`XORB_RAW_NBYTES` of a file is one, in chunks of the
longest length that xet-core takes, each behind its 8-byte header. All places follow from the length
of the file; nothing is stored for it. Source: hub-docs ``docs/xet/{xorb,download-protocol}.md``.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from app.xet.xorb import AS_IS, CHUNK_RAW_NBYTES, HEADER_NBYTES

XORB_RAW_NBYTES = 16 << 20
"""What clients fetch with one request; small enough that a file is fetched in parallel."""

CHUNK_WIRE_NBYTES = HEADER_NBYTES + CHUNK_RAW_NBYTES
CHUNKS = XORB_RAW_NBYTES // CHUNK_RAW_NBYTES


class Reader(Protocol):
    """What the bytes of the file come from."""

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)`` of the file."""
        ...

    def close(self) -> None:
        """Stop the work."""
        ...


@dataclass(frozen=True, slots=True)
class VirtualTerm:
    """Chunks ``[first, last)`` of the xorb ``index`` of a file."""

    index: int
    first: int
    last: int
    nbytes: int
    """Raw bytes in these chunks."""

    @property
    def wire_range(self) -> tuple[int, int]:
        """Where these chunks lie in the xorb as it is sent, ``[start, stop)``."""
        count = self.last - self.first
        start = self.first * CHUNK_WIRE_NBYTES
        return start, start + count * HEADER_NBYTES + self.nbytes


def xorb_text(sha256: bytes, index: int) -> str:
    """Name of a virtual xorb, in place of a digest: clients cache by it, so it is never reused."""
    return hashlib.sha256(b"clade virtual xorb\0" + sha256 + index.to_bytes(8, "big")).hexdigest()


def terms_of(nbytes: int, start: int, stop: int) -> tuple[int, list[VirtualTerm]]:
    """The terms that cover ``[start, stop)`` of a file, and what to skip at their beginning."""
    terms: list[VirtualTerm] = []
    for index in range(start // XORB_RAW_NBYTES, -(-stop // XORB_RAW_NBYTES)):
        origin = index * XORB_RAW_NBYTES
        first = max(0, start - origin) // CHUNK_RAW_NBYTES
        end = min(stop - origin, XORB_RAW_NBYTES)
        last = -(-end // CHUNK_RAW_NBYTES)
        raw_stop = min(last * CHUNK_RAW_NBYTES, nbytes - origin)
        terms.append(VirtualTerm(index, first, last, raw_stop - first * CHUNK_RAW_NBYTES))
    return start % CHUNK_RAW_NBYTES, terms


def wire_nbytes(nbytes: int, index: int) -> int:
    """Length on the wire of a whole virtual xorb of a file of ``nbytes``; 0 beyond its end."""
    raw = max(0, min(XORB_RAW_NBYTES, nbytes - index * XORB_RAW_NBYTES))
    return raw + -(-raw // CHUNK_RAW_NBYTES) * HEADER_NBYTES


class VirtualXorb:
    """One virtual xorb of a file as parts to send: offsets are those on the wire."""

    def __init__(self, reader: Reader, nbytes: int, index: int) -> None:
        self._reader = reader
        self._origin = index * XORB_RAW_NBYTES
        self._raw_nbytes = min(XORB_RAW_NBYTES, nbytes - self._origin)

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)`` of the xorb, made as the file is read."""
        first, last = start // CHUNK_WIRE_NBYTES, -(-stop // CHUNK_WIRE_NBYTES)
        raw_stop = min(last * CHUNK_RAW_NBYTES, self._raw_nbytes)
        at = first * CHUNK_WIRE_NBYTES
        raw = self._reader.stream(self._origin + first * CHUNK_RAW_NBYTES, self._origin + raw_stop)
        for part in self._with_headers(raw, first * CHUNK_RAW_NBYTES):
            lower, upper = max(start - at, 0), min(stop - at, len(part))
            at += len(part)
            if lower < upper:
                yield part[lower:upper]

    def close(self) -> None:
        """Stop the work."""
        self._reader.close()

    def _with_headers(self, raw: Iterator[memoryview], at: int) -> Iterator[memoryview]:
        """The raw bytes from ``at`` on, a header before each chunk; one part per buffer."""
        for buffer in raw:
            pieces: list[bytes | memoryview] = []
            taken = 0
            while taken < len(buffer):
                inside = at % CHUNK_RAW_NBYTES
                if inside == 0:
                    pieces.append(_header(min(CHUNK_RAW_NBYTES, self._raw_nbytes - at)))
                step = min(CHUNK_RAW_NBYTES - inside, len(buffer) - taken)
                pieces.append(buffer[taken : taken + step])
                taken += step
                at += step
            yield memoryview(b"".join(pieces))


def _header(nbytes: int) -> bytes:
    length = nbytes.to_bytes(3, "little")
    return bytes([0]) + length + bytes([AS_IS]) + length
