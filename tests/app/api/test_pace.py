"""A body that does not come is given up; one that comes slowly, but fast enough, is not."""

import math
from collections.abc import AsyncIterator

import anyio
import pytest

from app.api import pace
from app.api.pace import Pace, TooSlow, Uptake


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


def taken_until_given_up(nbytes: int, every_s: float, *, slowest_nbytes_s: int = 1024) -> float:
    """Seconds until a client that takes ``nbytes`` every so often is given up; inf: never."""
    uptake = Uptake(idle_s=300, slowest_nbytes_s=slowest_nbytes_s, burst_nbytes=BURST)
    for number in range(1, 10_000):
        try:
            uptake.judge(every_s, nbytes)
        except TooSlow:
            return number * every_s
    return math.inf


BURST = 1 << 19


@pytest.mark.parametrize("every_s", [0.1, 1, 60, 299])
def test_who_takes_a_byte_now_and_then_is_given_up(every_s: float):
    assert taken_until_given_up(1, every_s) <= BURST / (1024 - 1 / every_s) + every_s


def test_who_takes_nothing_is_given_up_sooner():
    assert taken_until_given_up(0, 10) == 300


@pytest.mark.parametrize(
    ("nbytes", "setting"), [(0, r"timers\.download_idle_s"), (1, r"limits\.download_nbytes_s")]
)
def test_it_is_told_what_gave_up(nbytes: int, setting: str):
    uptake = Uptake(idle_s=300, slowest_nbytes_s=1024, burst_nbytes=BURST)
    with pytest.raises(TooSlow, match=setting):
        uptake.judge(1000, nbytes)


@pytest.mark.parametrize(("nbytes", "every_s"), [(1024, 1), (10_000, 9), (BURST // 2, 250)])
def test_who_takes_enough_is_not(nbytes: int, every_s: float):
    assert taken_until_given_up(nbytes, every_s) == math.inf


def test_without_a_slowest_pace_silence_alone_counts():
    assert taken_until_given_up(1, 299, slowest_nbytes_s=0) == math.inf


def test_speed_now_pays_for_no_slowness_later():
    uptake = Uptake(idle_s=300, slowest_nbytes_s=1024, burst_nbytes=BURST)
    uptake.judge(1, 1 << 40)
    with pytest.raises(TooSlow):
        uptake.judge(1000, 1)
