"""An ingest that dies at any call to store or database: nothing half-made, and a retry works."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from sqlalchemy.orm import Session

from app.contents.packs import PackWriter
from app.db import Database
from app.db.tables import File, StoredObject
from app.hub import Hub
from app.ingest.inline import ingest_inline
from app.ingest.stream import ingest_stream
from app.store.contract import ObjectStore
from app.store.wrapper import StoreWrapper
from tests.fixtures.files import safetensors_of
from tests.fixtures.ingested import assert_file_whole, assert_nothing_visible, count, rows

T = TypeVar("T")

DATA = safetensors_of({f"t{i}": ("U8", [9000], bytes([i]) * 9000) for i in range(5)})


class Crash(BaseException):
    """The process dies here; nothing of ours may catch it for good."""


class Countdown:
    """Lets so many steps pass and crashes at the next one and at all after it."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.crashed = False

    def step(self) -> None:
        if self.steps == 0:
            self.crashed = True
            raise Crash
        self.steps -= 1


class CrashingStore(StoreWrapper):
    """A step before and one after the effect of every call, and one at every chunk of a put."""

    def __init__(self, inner: ObjectStore, countdown: Countdown) -> None:
        super().__init__(inner)
        self._countdown = countdown

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        def stepping() -> Iterator[bytes | memoryview]:
            for chunk in chunks:
                self._countdown.step()
                yield chunk

        self._countdown.step()
        nbytes = self.inner.put(key, stepping())
        self._countdown.step()
        return nbytes

    def read(self, key: str, start: int, stop: int) -> bytes:
        self._countdown.step()
        data = self.inner.read(key, start, stop)
        self._countdown.step()
        return data


class CrashingDatabase(Database):
    """A step before every transaction, before every commit and after it."""

    def __init__(self, inner: Database, countdown: Countdown) -> None:
        vars(self).update(vars(inner))
        self._countdown = countdown

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._countdown.step()
        with super().write() as session:
            yield session
            session.flush()
            self._countdown.step()
        self._countdown.step()


def crash_everywhere(hub: Hub, ingest: Callable[[Hub], T]) -> Iterator[tuple[int, Hub]]:
    """Run ``ingest`` with a crash after 0, 1, 2 … steps until it gets through."""
    for steps in range(200):
        countdown = Countdown(steps)
        crashing = Hub(
            settings=hub.settings,
            db=CrashingDatabase(hub.db, countdown),
            store=CrashingStore(hub.store, countdown),
            clock=hub.clock,
            secret=hub.secret,
            store_epoch=hub.store_epoch,
        )
        try:
            ingest(crashing)
        except Crash:
            assert countdown.crashed
            yield steps, hub
        else:
            return
    raise AssertionError("it never got through")


def assert_whole_or_absent(hub: Hub, expected: list[bytes]) -> bool:
    """Either all files are there and whole or nothing is; returns which."""
    files = rows(hub, File)
    if not files:
        assert_nothing_visible(hub)
        return False
    by_size = {len(data): data for data in expected}
    assert {file.size for file in files} == by_size.keys()
    for file in files:
        assert_file_whole(hub, file.id, by_size[file.size])
    return True


def test_stream_is_whole_or_absent_after_a_crash_at_any_step(hub: Hub, repo_id: int):
    def ingest(hub: Hub) -> None:
        ingest_stream(hub, [DATA[:9], DATA[9:]], nbytes=len(DATA), sha256=None, repo_id=repo_id)

    seen = [assert_whole_or_absent(hub, [DATA]) for _ in crash_everywhere(hub, ingest)]
    assert seen.count(False) > 8
    assert seen == sorted(seen)  # once visible, it stays so
    ingest(hub)
    assert assert_whole_or_absent(hub, [DATA])


def test_inline_files_are_all_whole_or_all_absent_after_a_crash_at_any_step(hub: Hub, repo_id: int):
    blobs = [b"one", b"three", DATA]
    seen = [
        assert_whole_or_absent(hub, blobs)
        for _ in crash_everywhere(hub, lambda hub: ingest_inline(hub, blobs, repo_id=repo_id))
    ]
    assert seen.count(False) > 8
    ingest_inline(hub, blobs, repo_id=repo_id)
    assert assert_whole_or_absent(hub, blobs)


def test_every_object_in_the_store_has_a_row_after_a_crash_at_any_step(hub: Hub, repo_id: int):
    def ingest(hub: Hub) -> None:
        ingest_stream(hub, [DATA], nbytes=len(DATA), sha256=None, repo_id=repo_id)
        with PackWriter(hub) as packs:
            packs.add(1, "ZSTD", None, b"frame" * 100)
            packs.close()

    for _ in crash_everywhere(hub, ingest):
        known = {row.key for row in rows(hub, StoredObject)}
        assert {stat.key for stat in hub.store.list()} <= known
    assert count(hub, File) == 1


@pytest.mark.parametrize("step", range(3))
def test_error_while_giving_up_does_not_hide_the_cause(hub: Hub, repo_id: int, step: int):
    def broken() -> Iterator[bytes]:
        yield DATA[:1000]
        hub.db.dispose()
        hub.db = Database("sqlite:////nonexistent/hub.sqlite")
        raise ValueError(step)

    with pytest.raises(ValueError, match=str(step)):
        ingest_stream(hub, broken(), nbytes=None, sha256=None, repo_id=repo_id)
