"""How fast a body has to come: a client that is silent, or only drips, must not hold a thread."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

import anyio

from app.settings import Settings


class TooSlow(Exception):
    """The client does not keep the pace; the text says what that is."""


@dataclass
class Pace:
    """Of one body. Only the time spent waiting for the client counts."""

    idle_s: float
    """Longest silence; also the time over which the speed is taken."""
    slowest_nbytes_s: int
    _waited_s: float = 0.0
    _nbytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings have it."""
        return cls(settings.timers.upload_idle_s, settings.limits.upload_nbytes_s)

    async def next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        """The next part of the body, None at its end. Raises TooSlow."""
        begun = anyio.current_time()
        try:
            with anyio.fail_after(self.idle_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            silence = f"nothing arrived for {self.idle_s:g} seconds"
            raise TooSlow(f"{silence} (timers.upload_idle_s)") from None
        if chunk is not None:
            self._judge(anyio.current_time() - begun, len(chunk))
        return chunk

    def _judge(self, waited_s: float, nbytes: int) -> None:
        self._waited_s += waited_s
        self._nbytes += nbytes
        if self._waited_s < self.idle_s:
            return
        if self._nbytes < self.slowest_nbytes_s * self._waited_s:
            pace = f"{self._nbytes} bytes in {self._waited_s:.0f} seconds"
            floor = f"{self.slowest_nbytes_s} bytes a second"
            raise TooSlow(f"{pace} is slower than {floor} (limits.upload_nbytes_s)")
        self._waited_s, self._nbytes = 0.0, 0
