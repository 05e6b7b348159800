"""The connection breaks during a commit: it takes effect once, or not at all and is done again."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from app.db import Database, after_commit, outcomes
from app.errors import Unavailable

COMMIT = b"COMMIT"


class BreakingProxy:
    """Passes bytes on to PostgreSQL; cuts the connection of the next COMMIT, before or after it."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.cut: str | None = None
        self.refuses = False
        self.cuts = 0
        self._answered = threading.Event()
        self._deaf: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
                continue
            server = socket.create_connection(self.upstream)
            pair = (client, server)
            threading.Thread(target=self._pump, args=(*pair, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(*pair[::-1], False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(65536):
                if not from_client:
                    self._answered.set()
                    if sink is self._deaf:
                        continue
                elif COMMIT in data and self.cut is not None:
                    cut, self.cut = self.cut, None
                    self.cuts += 1
                    if cut == "after":
                        self._deaf = source  # and told nothing before the server has answered
                        self._answered.clear()
                        sink.sendall(data)
                        self._answered.wait(30)
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy(postgres: str) -> Iterator[BreakingProxy]:
    parsed = urlsplit(postgres)
    proxy = BreakingProxy((str(parsed.hostname), int(parsed.port or 0)))
    yield proxy
    proxy.close()


@pytest.fixture
def database(postgres: str, proxy: BreakingProxy) -> Iterator[Database]:
    parsed = urlsplit(postgres)
    database = Database(f"postgresql://clade@127.0.0.1:{proxy.port}{parsed.path}")
    with database.write() as session:
        session.execute(text("CREATE TABLE effect (id serial)"))
    yield database
    database.dispose()


def effects(database: Database) -> int:
    with database.read() as session:
        return session.scalar(text("SELECT count(*) FROM effect"))  # type: ignore[return-value]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_work_takes_effect_once(database: Database, proxy: BreakingProxy, cut: str):
    runs, told = [], []

    def work(session) -> str:
        runs.append(cut)
        session.execute(text("INSERT INTO effect DEFAULT VALUES"))
        after_commit(session, lambda: told.append(cut))
        return "result"

    proxy.cut = cut
    assert database.run(work) == "result"
    assert proxy.cuts == 1
    assert effects(database) == 1
    assert told == [cut]
    assert len(runs) == (1 if cut == "after" else 2)


def test_server_that_never_heard_of_the_break_is_told(database: Database):
    """It would hold the transaction, and its locks, until a time-out."""
    with database.engine.connect() as forgotten:
        forgotten.execute(text("INSERT INTO effect DEFAULT VALUES"))
        name = forgotten.scalar(text("SELECT CAST(pg_current_xact_id() AS text)"))
        assert not outcomes.was_committed(database.engine, str(name))
        forgotten.invalidate()
    assert effects(database) == 0


def test_server_that_stays_away_leaves_the_outcome_open(
    database: Database, proxy: BreakingProxy, monkeypatch
):
    monkeypatch.setattr(outcomes, "PATIENCE_S", 0.3)

    def work(session) -> None:
        session.execute(text("INSERT INTO effect DEFAULT VALUES"))
        proxy.refuses = True

    proxy.cut = "after"
    with pytest.raises(Unavailable, match="look before trying again"):
        database.run(work)
    proxy.refuses = False
    assert effects(database) == 1


def test_database_that_is_away_is_unavailable(database: Database, proxy: BreakingProxy):
    database.dispose()
    proxy.refuses = True
    with pytest.raises(Unavailable), database.read() as session:
        session.execute(text("SELECT 1"))
    with pytest.raises(Unavailable):
        database.run(lambda session: session.execute(text("SELECT 1")))
