"""Clients that ask for much and read nothing: what they hold, and how long."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from app import callers
from app.hub import Hub
from app.restore.pool import RestorePool, shared_pool
from app.restore.turns import Turns
from tests.fixtures.api import running_server
from tests.fixtures.contents import ContentFactory, StoredFile
from tests.fixtures.mirrors import eventually
from tests.fixtures.published import Publisher

MIB = 1 << 20
URL = "/alice/model/resolve/main/model.safetensors"
STALLED = 12


@pytest.fixture
def model(publisher: Publisher, contents: ContentFactory) -> StoredFile:
    """A large file of alice's."""
    values = np.random.default_rng(0).normal(0, 0.02, 8 * MIB).astype(np.float32)
    data = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    file = contents.file([contents.content(data, "PLANE")])
    publisher.publish("alice/model", {"model.safetensors": file})
    return file


@pytest.fixture
def pool(hub: Hub) -> RestorePool:
    return shared_pool(hub.settings.restore_threads)


@contextlib.contextmanager
def stalled(base: str, room_nbytes: int = 4096) -> Iterator[socket.socket]:
    """A client that reads the first bytes of an answer, with little room for more."""
    address = urlsplit(base)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room_nbytes)
        connection.settimeout(30)
        connection.connect((address.hostname, address.port))
        connection.sendall(f"GET {URL} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
        yield connection


def test_each_holds_one_item_and_others_are_served(
    hub: Hub, model: StoredFile, pool: RestorePool
) -> None:
    with running_server(hub) as base, ExitStack() as stack:
        for _ in range(STALLED):
            stack.enter_context(stalled(base))
        assert pool.readers == STALLED
        assert httpx.get(base + URL, timeout=60).content == model.data
        eventually(lambda: (pool.readers, pool.held_nbytes) == (STALLED, STALLED * MIB))


def test_who_takes_a_little_now_and_then_is_given_up(
    hub: Hub, model: StoredFile, pool: RestorePool, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes something again and again, never much: the silence alone would let it go on."""
    limits = hub.settings.limits.model_copy(update={"download_nbytes_s": 1 << 40})
    timers = hub.settings.timers.model_copy(update={"download_idle_s": 1.5})
    hub.settings = hub.settings.model_copy(update={"limits": limits, "timers": timers})
    with running_server(hub) as base, stalled(base, 64 << 10) as connection:
        received = 64
        with contextlib.suppress(ConnectionResetError):
            while taken := connection.recv(32 << 10):
                received += len(taken)
                time.sleep(0.01)  # or a busy server would never have to wait for it
        assert received < len(model.data)
        eventually(lambda: (pool.readers, pool.held_nbytes) == (0, 0))
    assert "limits.download_nbytes_s" in capsys.readouterr().out


def test_callers_wait_in_lines_of_their_own(
    publisher: Publisher, model: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    submit = Turns.submit

    def noted(turns: Turns, work: Callable[[], object]) -> Future[object]:
        lines.append(callers._caller.get())
        return submit(turns, work)

    monkeypatch.setattr(Turns, "submit", noted)
    seen = []
    for token in (None, "alice", "bob", "alice"):
        lines.clear()
        assert publisher.client(token).get(URL).content == model.data
        seen.append(set(lines))
    assert all(len(line) == 1 for line in seen)
    assert len(set.union(*seen)) == 3
    assert seen[1] == seen[3]


def test_who_takes_nothing_is_given_up(
    hub: Hub, model: StoredFile, pool: RestorePool, capsys: pytest.CaptureFixture[str]
) -> None:
    timers = hub.settings.timers.model_copy(update={"download_idle_s": 0.05})
    hub.settings = hub.settings.model_copy(update={"timers": timers})
    with running_server(hub) as base, stalled(base) as connection:
        for _ in range(10_000):
            if not pool.readers:
                break
            httpx.get(base + "/healthz")
        eventually(lambda: (pool.readers, pool.held_nbytes) == (0, 0))
        with contextlib.suppress(ConnectionResetError):
            received = sum(map(len, iter(lambda: connection.recv(MIB), b"")))
            assert received < len(model.data)
    assert "timers.download_idle_s" in capsys.readouterr().out


def test_a_slow_reader_that_goes_on_reading_gets_the_file(
    hub: Hub, model: StoredFile, pool: RestorePool
) -> None:
    with running_server(hub) as base, stalled(base) as connection:
        answer = connection.makefile("rb")
        while answer.readline() != b"\r\n":
            pass
        assert answer.read(len(model.data)) == model.data
