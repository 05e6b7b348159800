"""A body that does not come is given up; one that comes slowly, but fast enough, is not."""

from collections.abc import AsyncIterator

import anyio
import pytest

from app.api import pace
from app.api.pace import Pace, TooSlow


class Client:
    """Sends ``nbytes`` every ``wait_s`` seconds of a clock that it moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, wait_s: float, nbytes: int) -> None:
        self.now, self.wait_s, self.nbytes = 0.0, wait_s, nbytes
        monkeypatch.setattr(pace.anyio, "current_time", lambda: self.now)

    async def body(self, parts: int) -> AsyncIterator[bytes]:
        for _ in range(parts):
            self.now += self.wait_s
            yield bytes(self.nbytes)


def received(client: Client, expected: Pace, *, thinks_s: float = 0.0) -> int:
    """How many parts of a hundred were taken; ``thinks_s``: what we take over each."""

    async def take() -> int:
        stream, parts = client.body(100), 0
        while await expected.next(stream) is not None:
            client.now += thinks_s
            parts += 1
        return parts

    return anyio.run(take)


def test_a_client_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch):
    client = Client(monkeypatch, wait_s=59, nbytes=1)
    with pytest.raises(TooSlow, match=r"limits\.upload_nbytes_s"):
        received(client, Pace(idle_s=60, slowest_nbytes_s=1024))
    assert client.now == 2 * 59


def test_a_slow_client_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    client = Client(monkeypatch, wait_s=10, nbytes=10 * 1024)
    assert received(client, Pace(idle_s=60, slowest_nbytes_s=1024)) == 100


def test_our_own_slowness_is_not_the_clients(monkeypatch: pytest.MonkeyPatch):
    client = Client(monkeypatch, wait_s=0.01, nbytes=100)
    assert received(client, Pace(idle_s=60, slowest_nbytes_s=1024), thinks_s=30) == 100


def test_silence_ends_a_body():
    async def silent() -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""

    async def take() -> None:
        await Pace(idle_s=0.01, slowest_nbytes_s=0).next(silent())

    with pytest.raises(TooSlow, match=r"timers\.upload_idle_s"):
        anyio.run(take)
