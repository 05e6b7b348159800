"""The bytes of a git pack in order: counted, hashed, inflated to the length each object claims.

Source: git's gitformat-pack(5).
"""

import hashlib
import zlib
from collections.abc import Iterator

from app.errors import IntegrityError, InvalidRequest, LimitExceeded
from app.git.pkt import PktReader

_INFLATE_NBYTES = 256 << 10


class PackStream:
    """The bytes of a pack in order, counted and hashed."""

    def __init__(self, reader: PktReader, max_nbytes: int) -> None:
        self._reader = reader
        self._room = max_nbytes
        self._held = memoryview(b"")
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self.offset = 0

    def begin(self) -> int:
        """Read the head; the number of objects."""
        head = self.read(12)
        if head[:4] != b"PACK" or head[4:8] not in {b"\0\0\0\2", b"\0\0\0\3"}:
            raise InvalidRequest("a git pack of version 2 was due")
        return int.from_bytes(head[8:], "big")

    def finish(self) -> None:
        """Read the checksum, which is the end."""
        digest = self._sha1.digest()
        if self.read(20) != digest:
            raise IntegrityError("the pack fails its checksum")
        if self._held or self._reader.some():
            raise InvalidRequest("there is something behind the pack")

    def entry_head(self) -> tuple[int, int]:
        """Type and inflated length of the next object."""
        byte = self._byte()
        number, nbytes, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            byte = self._byte()
            nbytes |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise InvalidRequest("the pack holds an object of impossible size")
        return number, nbytes

    def base_distance(self) -> int:
        """How far back the base of a delta lies."""
        byte = self._byte()
        distance = byte & 0x7F
        while byte & 0x80:
            byte = self._byte()
            distance = (distance + 1) << 7 | byte & 0x7F
            if distance > 1 << 62:
                break
        if not 0 < distance <= self.offset:
            raise InvalidRequest("the pack holds a delta against nothing")
        return distance

    def inflate(self, nbytes: int) -> bytes:
        """The next zlib stream, which must inflate to exactly ``nbytes``."""
        return b"".join(self.parts(nbytes))

    def parts(self, nbytes: int) -> Iterator[bytes]:
        """The same, a little at a time."""
        inflater = zlib.decompressobj()
        room = nbytes
        while not inflater.eof:
            chunk = self._some()
            try:
                part = inflater.decompress(chunk, min(room, _INFLATE_NBYTES) + 1)
            except zlib.error as error:
                raise InvalidRequest(f"the pack is broken: {error}") from None
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            self._consume(chunk, len(chunk) - len(rest))
            room -= len(part)
            if room < 0:
                raise InvalidRequest("the pack holds an object longer than it says")
            yield part
        if room:
            raise InvalidRequest("the pack holds an object shorter than it says")

    def read(self, nbytes: int) -> bytes:
        """So many bytes. Raises InvalidRequest at the end."""
        taken = bytearray()
        while len(taken) < nbytes:
            chunk = self._some()
            part = chunk[: nbytes - len(taken)]
            taken += part
            self._consume(chunk, len(part))
        return bytes(taken)

    def _byte(self) -> int:
        return self.read(1)[0]

    def _some(self) -> memoryview:
        """What is at hand, some of it; to be given back by :meth:`_consume`."""
        if not self._held:
            data = self._reader.some()
            if not data:
                raise IntegrityError("the pack ends too early")
            self._room -= len(data)
            if self._room < 0:
                raise LimitExceeded("the pack is too long", setting="limits.push_nbytes")
            self._held = memoryview(data)
        return self._held[:_INFLATE_NBYTES]

    def _consume(self, chunk: memoryview, nbytes: int) -> None:
        self._sha1.update(chunk[:nbytes])
        self._held = self._held[nbytes:]
        self.offset += nbytes
