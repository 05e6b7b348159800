"""The process may die at any call to the store or the database, and others may interfere there."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import pytest
from sqlalchemy import select

from app.db.tables import Job
from app.gc.collect import collect
from app.hub import Hub
from app.jobs.context import JobContext
from app.settings import Settings
from app.store.wrapper import StoreWrapper
from app.tasks import HANDLERS
from tests.fixtures.hub import open_test_hub
from tests.fixtures.models import ModelHub, as_bf16, base_weights, tuned

pytestmark = pytest.mark.long

SHAPES = {"embed_tokens.weight": (1100, 16), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}


class Killed(BaseException):
    """The process is gone: not an Exception, so that nothing handles it."""


class Tripwire:
    """Counts calls to store and database; does something at each."""

    def __init__(self, hub: Hub, at_call: Callable[[int], None]) -> None:
        self.hub = hub
        self.calls = 0
        self._at_call = at_call
        self._store, self._run = hub.store, hub.db.run
        self._busy = False

    def step(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self._at_call(self.calls)
        finally:
            self._busy = False
        self.calls += 1

    def __enter__(self) -> Self:
        wire = self

        class Store(StoreWrapper):
            def put(self, key, chunks):
                wire.step()
                nbytes = self.inner.put(key, chunks)
                wire.step()
                return nbytes

            def put_file(self, key, path):
                wire.step()
                return self.inner.put_file(key, path)

            def read(self, key, start, stop):
                wire.step()
                return self.inner.read(key, start, stop)

            def delete(self, key):
                wire.step()
                self.inner.delete(key)
                wire.step()

        def run(work, **options):
            wire.step()
            result = wire._run(work, **options)
            wire.step()
            return result

        self.hub.store = Store(self._store)
        self.hub.db.run = run  # type: ignore[method-assign]
        return self

    def __exit__(self, *_exc: object) -> None:
        self.hub.store = self._store
        self.hub.db.run = self._run  # type: ignore[method-assign]


def run_everything(hub: Hub) -> None:
    """All owed jobs in this thread, without runner and heartbeat: every call is counted."""
    while True:
        with hub.db.read() as session:
            job = session.scalars(
                select(Job).where(Job.state == "queued").order_by(Job.priority, Job.id)
            ).first()
        if job is None:
            return
        HANDLERS[job.kind](JobContext(hub, job.id, json.loads(job.payload)))

        def done(session, job_id=job.id):
            session.get_one(Job, job_id).state = "done"

        hub.db.run(done)


@contextmanager
def copied(models: ModelHub, tmp_path, n: int) -> Iterator[ModelHub]:
    """The same hub in another directory."""
    data = tmp_path / f"copy{n}"
    shutil.copytree(models.hub.settings.data, data)
    hub = open_test_hub(Settings(data=data))
    yield ModelHub(hub, models.principals, models.pushed)
    hub.close()
    shutil.rmtree(data)


@pytest.fixture
def waiting(models: ModelHub) -> ModelHub:
    """A base and two fine-tunes, the base last, everything still to be encoded but the first."""
    base = as_bf16(base_weights(shapes=SHAPES))
    models.push("alice/one", tuned(base, 1, 5e-4))
    models.run_jobs()
    models.push("alice/two", tuned(base, 2, 5e-4))
    models.push("alice/base", base)
    return models


def test_death_at_any_call_loses_nothing_and_a_rerun_finishes(waiting: ModelHub, tmp_path):
    with copied(waiting, tmp_path, 0) as models:
        with Tripwire(models.hub, lambda _n: None) as wire:
            run_everything(models.hub)
        collect(models.hub, now=True)
        expected, calls = models.stored_nbytes(), wire.calls
    assert calls > 60
    for death in range(0, calls, calls // 16):
        with copied(waiting, tmp_path, death + 1) as models:

            def die(n: int, death=death) -> None:
                if n >= death:
                    raise Killed

            with pytest.raises(Killed), Tripwire(models.hub, die):
                run_everything(models.hub)
            models.check(deep=False)
            run_everything(models.hub)
            models.hub.clock.advance(2 * models.hub.settings.timers.intent_s)  # type: ignore[attr-defined]
            collect(models.hub, now=True)
            models.check()
            assert models.bucket_nbytes() <= models.stored_nbytes() / 0.8
            assert abs(models.stored_nbytes() - expected) < 0.03 * expected


def test_collection_without_grace_at_every_call_takes_nothing_that_is_needed(waiting: ModelHub):
    with Tripwire(waiting.hub, lambda _n: collect(waiting.hub, now=True)):
        run_everything(waiting.hub)
    waiting.check()
    assert waiting.base_of("alice/two", "embed_tokens.weight") is not None


def test_repositories_that_vanish_meanwhile_leave_the_rest_whole(waiting: ModelHub, tmp_path):
    for moment in range(5, 60, 13):
        with copied(waiting, tmp_path, moment) as copy:
            models = ModelHub(copy.hub, dict(copy.principals), dict(copy.pushed))

            def vanish(n: int, moment=moment, models=models) -> None:
                if n == moment:
                    models.delete_repo("alice/one")
                if n >= moment:
                    collect(models.hub, now=True)

            with Tripwire(models.hub, vanish):
                run_everything(models.hub)
            models.check()
