"""pkt-lines: how git frames what it says, and the side bands inside of them.

Source: git's gitprotocol-common(5) and gitprotocol-pack(5).
"""

from collections.abc import Iterable, Iterator
from enum import Enum

from app.errors import InvalidRequest

MAX_PAYLOAD_NBYTES = 65_516
"""Longest payload of one line."""

BAND_NBYTES = MAX_PAYLOAD_NBYTES - 1

PACK_BAND = 1
PROGRESS_BAND = 2
ERROR_BAND = 3


class Mark(Enum):
    """What stands between lines."""

    FLUSH = b"0000"
    DELIMITER = b"0001"
    RESPONSE_END = b"0002"


Packet = bytes | Mark


def pkt(*payloads: bytes | Mark) -> bytes:
    """These lines and marks as they are sent."""
    return b"".join(
        each.value if isinstance(each, Mark) else b"%04x%b" % (len(each) + 4, each)
        for each in payloads
    )


def in_band(band: int, data: bytes | memoryview) -> bytes:
    """Data in one side band, cut into lines."""
    return b"".join(
        pkt(bytes([band]) + data[start : start + BAND_NBYTES])
        for start in range(0, len(data), BAND_NBYTES)
    )


class PktReader:
    """Reads lines from a stream of buffers; what follows them is read by :meth:`read`."""

    def __init__(self, buffers: Iterable[bytes]) -> None:
        self._buffers = iter(buffers)
        self._held = b""

    def packet(self) -> Packet | None:
        """The next line without its newline, or mark; None at the end. Raises InvalidRequest."""
        payload = self.payload()
        return payload.removesuffix(b"\n") if isinstance(payload, bytes) else payload

    def payload(self) -> Packet | None:
        """The same with whatever is at the line's end: it may be bytes of a pack."""
        head = self.read(4)
        if not head:
            return None
        try:
            length = int(head, 16) if head.isalnum() and len(head) == 4 else -1
        except ValueError:
            length = -1
        if length < 3:
            try:
                return Mark(head)
            except ValueError:
                raise InvalidRequest("not a pkt-line of git") from None
        if length < 4 or length > MAX_PAYLOAD_NBYTES + 4:
            raise InvalidRequest("a pkt-line of git has an impossible length")
        payload = self.read(length - 4)
        if len(payload) < length - 4:
            raise InvalidRequest("the request ends inside a pkt-line")
        return payload

    def packets(self) -> Iterator[Packet]:
        """All lines and marks to the end."""
        while (packet := self.packet()) is not None:
            yield packet

    def until_flush(self) -> Iterator[bytes]:
        """Lines up to the next flush, or the end. Raises InvalidRequest for another mark."""
        while (packet := self.packet()) not in {None, Mark.FLUSH}:
            if not isinstance(packet, bytes):
                raise InvalidRequest("git sent a mark where a line was due")
            yield packet

    def read(self, nbytes: int) -> bytes:
        """So many raw bytes; fewer only at the end."""
        if len(self._held) < nbytes:
            parts, nheld = [self._held], len(self._held)
            for buffer in self._buffers:
                parts.append(buffer)
                nheld += len(buffer)
                if nheld >= nbytes:
                    break
            self._held = b"".join(parts)
        taken, self._held = self._held[:nbytes], self._held[nbytes:]
        return taken

    def some(self) -> bytes:
        """Raw bytes, as many as are at hand; none at the end."""
        taken, self._held = self._held or next(self._buffers, b""), b""
        return taken
