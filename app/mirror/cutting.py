"""A stream cut into parts by size and by time; what came before a break is a part as well."""

import time
from collections.abc import Iterator

from app.errors import UpstreamDown

FIRST_NBYTES = 1 << 20
"""Where somebody waits the first part is small, to be served soon; each next one doubles."""

JOINED_NBYTES = 1 << 20
JOINED_S = 0.05
"""Chunks are joined to that size, unless they come slowly: a write for each is dear."""


class PartCutter:
    """Cuts the next ``nbytes`` of a stream."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        nbytes: int,
        *,
        most_nbytes: int,
        most_s: float,
        starts_small: bool,
    ) -> None:
        self._chunks = chunks
        self._left_nbytes = nbytes
        self._most_nbytes = most_nbytes
        self._most_s = most_s
        self._next_nbytes = min(FIRST_NBYTES, most_nbytes) if starts_small else most_nbytes
        self._held = b""
        self._broke = False
        self.fault: UpstreamDown | None = None
        """What broke the stream."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to cut."""
        return self._broke or self._left_nbytes == 0

    def part(self) -> Iterator[bytes]:
        """The chunks of the next part."""
        room = min(self._next_nbytes, self._left_nbytes)
        self._next_nbytes = min(2 * self._next_nbytes, self._most_nbytes)
        until = time.monotonic() + self._most_s
        while room and not self._broke:
            piece = self._join(room)
            room -= len(piece)
            self._left_nbytes -= len(piece)
            if piece:
                yield piece
            if time.monotonic() >= until:
                return

    def _join(self, most_nbytes: int) -> bytes:
        """The next bytes, as many as come within a moment."""
        most_nbytes = min(most_nbytes, JOINED_NBYTES)
        until = time.monotonic() + JOINED_S
        joined, nbytes = [self._held], len(self._held)
        while nbytes < most_nbytes and not self._broke and time.monotonic() < until:
            chunk = self._next()
            joined.append(chunk)
            nbytes += len(chunk)
        whole = b"".join(joined)
        self._held = whole[most_nbytes:]
        return whole[:most_nbytes]

    def _next(self) -> bytes:
        try:
            chunk = next(self._chunks, None)
        except UpstreamDown as error:
            self.fault = error
            chunk = None
        self._broke = chunk is None
        return chunk or b""
