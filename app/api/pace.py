"""How fast bodies have to move: who is silent, or only drips, must not hold what others need.

Servers in front bound the silence between two reads or writes (nginx: client_body_timeout,
send_timeout), which a byte now and then satisfies for ever.
"""

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


@dataclass
class Uptake:
    """How a client takes what it is sent. Only the time that answers wait for it counts."""

    idle_s: float
    """Longest time in which it takes nothing."""
    slowest_nbytes_s: int
    burst_nbytes: int
    """What is taken at once, however slowly a client reads: no smaller debt means anything."""
    _silent_s: float = 0.0
    _owed_nbytes: float = 0.0
    """By how much it is behind the slowest pace. What it took faster earns it nothing."""

    @classmethod
    def of(cls, settings: Settings, burst_nbytes: int) -> Self:
        """As the settings have it."""
        return cls(settings.timers.download_idle_s, settings.limits.download_nbytes_s, burst_nbytes)

    def judge(self, waited_s: float, nbytes: int) -> None:
        """It took so many bytes in so many seconds. Raises TooSlow."""
        self._silent_s = 0.0 if nbytes else self._silent_s + waited_s
        if self._silent_s >= self.idle_s:
            silence = f"nothing was taken for {self._silent_s:.0f} seconds"
            raise TooSlow(f"{silence} (timers.download_idle_s)")
        self._owed_nbytes = max(0.0, self._owed_nbytes + self.slowest_nbytes_s * waited_s - nbytes)
        if self._owed_nbytes > max(self.burst_nbytes, self.slowest_nbytes_s * self.idle_s):
            behind = f"{self._owed_nbytes:.0f} bytes behind {self.slowest_nbytes_s} bytes a second"
            raise TooSlow(f"the client is {behind} (limits.download_nbytes_s)")
