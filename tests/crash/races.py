"""Two acts on one hub at the same time, the second begun where a transaction of the first ends.

The first is held before a commit of its, with all that it locked; the second runs until it is done
or waits for one of these locks. Only PostgreSQL shows what comes of that: SQLite has one writer.
Who commits nothing is held between what it learned and what it does with that: before it reads from
the store, or once it has listed it.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal, Self

import psycopg
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app.clock import ManualClock
from app.db import Database
from app.errors import Damaged, HubError
from app.hub import Hub
from app.store.contract import ObjectStat
from app.store.wrapper import StoreWrapper
from tests.crash.stage import Act, Stage
from tests.fixtures.services import named_database

LONGEST_S = 60.0

Moments = Literal["commits", "looks"]
"""Where the first may be held: before a commit, or between a look at the hub and its store's."""


@dataclass(frozen=True)
class Scene:
    """A hub on PostgreSQL as two acts find it; every race has a copy of its own."""

    stage: Stage
    """Who filled it; its hub is closed."""
    url: str
    """Of the copies, which there are one after another."""
    databases: tuple[Database, Database]
    """To open both processes' hubs of copies with, for all races: statements are compiled once."""

    @contextmanager
    def copied(self, place: Path) -> Iterator[tuple[Stage, Stage]]:
        """Two processes of one hub."""
        settings = self.stage.settings
        shutil.copytree(settings.data, place / "data")
        server, _, name = self.url.rpartition("/")
        original = settings.resolved_database_url.rpartition("/")[2]
        changes = {"data": place / "data", "database_url": SecretStr(self.url)}
        settings = settings.model_copy(update=changes)
        with named_database(server, name, f"TEMPLATE {original}"):
            clock, told = ManualClock(self.stage.clock.now()), dict(self.stage.acknowledged)
            first, second = (
                Stage(settings, database, clock=clock, acknowledged=told)
                for database in self.databases
            )
            try:
                yield first, second
            finally:
                for each in (first, second):
                    each.hub.close()


@dataclass
class Gate:
    """Holds whoever works on a hub before the so many-th of these moments, or before the first one
    below a function of this name, while it lasts."""

    hub: Hub
    moments: Moments
    at: int | str
    passed: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        if self.moments == "commits":
            commit = self.hub.db._commit

            def held(session: Session) -> None:
                self.hold()
                commit(session)

            self.hub.db._commit = held  # type: ignore[method-assign]
            return self
        gate, self._store = self, self.hub.store

        class Store(StoreWrapper):
            def read(self, key: str, start: int, stop: int) -> bytes:
                gate.hold()
                return self.inner.read(key, start, stop)

            def list(self, prefix: str = "") -> Iterator[ObjectStat]:
                found = [*self.inner.list(prefix)]
                gate.hold()
                yield from found

        self.hub.store = Store(self._store)
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        if self.moments == "commits":
            del self.hub.db._commit  # of the instance, which hid its class's
        else:
            self.hub.store = self._store

    def hold(self) -> None:
        """Whoever comes to a moment, until the gate is opened if it is the one."""
        self.passed += 1
        is_it = self.at in (self.passed, *_callers())
        if is_it and not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(LONGEST_S)


class Player(threading.Thread):
    """Somebody who plays an act."""

    def __init__(self, act: Act, stage: Stage) -> None:
        super().__init__()
        self.act, self.stage = act, stage
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.act(self.stage)
        except BaseException as error:  # noqa: BLE001 - looked at by who started it
            self.error = error

    def ended(self) -> None:
        """An answer is success, or one that asks for another try, which then gets through."""
        if isinstance(self.error, HubError) and not isinstance(self.error, Damaged):
            self.act(self.stage)
        elif self.error is not None:
            raise self.error


def race(
    scene: Scene,
    place: Path,
    first: Act,
    second: Act,
    at: int | str,
    moments: Moments = "commits",
) -> bool:
    """Play both, check everything; False if the first has no such moment."""
    with scene.copied(place) as (one, two):
        players = [Player(first, one), Player(second, two)]
        with Gate(one.hub, moments, at) as gate:
            players[0].start()
            _until(lambda: gate.reached.is_set() or not players[0].is_alive())
            if gate.reached.is_set():
                players[1].start()
                _until(lambda: not players[1].is_alive() or _somebody_waits(scene.url))
            else:
                players.pop()
            gate.opened.set()
            for each in players:
                each.join(LONGEST_S)
                assert not each.is_alive()
        for each in players:
            each.ended()
        one.check()
        one.finish()
    return gate.reached.is_set()


def _callers() -> Iterator[str]:
    """Names of the functions that are under way in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def _somebody_waits(url: str) -> bool:
    """Whether a connection to the database waits for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(url, autocommit=True) as observer:
        row = observer.execute(query).fetchone()
    return row is not None and row[0] > 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
