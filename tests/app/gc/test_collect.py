"""Collections take what nobody needs, when its time has come, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.clock import ManualClock
from app.contents import objects
from app.db.tables import Content, Encoding, File, FormerEncoding, Job, Lease, StoredObject
from app.gc import marking
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.jobs.outbox import enqueue
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.models import ModelHub, Stock, base_weights, stock_hub, tuned

DAY_S = 24 * 3600.0


def rows(hub: Hub, table) -> int:
    with hub.db.read() as session:
        return len(session.scalars(select(table)).all())


def fill(models: ModelHub) -> None:
    models.push("alice/gone", base_weights())
    models.run_jobs()
    collect(models.hub, now=True)
    models.delete_repo("alice/gone")


@pytest.fixture(scope="module")
def stock(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock_hub(tmp_path_factory.mktemp("deleted"), migrated_sqlite, fill)


@pytest.fixture
def deleted(stock: Stock, tmp_path: Path) -> Iterator[ModelHub]:
    """One model whose repository was deleted after it was encoded and collected."""
    with stock.copied(tmp_path / "data") as models:
        yield models


@pytest.mark.parametrize("window", [1, 3, 20_000])
def test_deleted_model_leaves_nothing_behind(
    deleted: ModelHub, window: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(marking, "WINDOW", window)
    report = collect(deleted.hub, now=True)
    assert report.files_deleted >= 1
    assert report.contents_deleted >= 7
    for table in (File, Content, Encoding, FormerEncoding, StoredObject):
        assert rows(deleted.hub, table) == 0
    assert deleted.bucket_nbytes() == 0
    assert fsck(deleted.hub, deep=True).clean


def test_run_without_grace_goes_on_while_the_clock_does(deleted: ModelHub):
    """Each step of it is a little later than the one before, as on any machine."""

    class Ticking(ManualClock):
        def now(self):
            self.advance(0.001)
            return super().now()

    deleted.hub.clock = Ticking(deleted.hub.clock.now())
    collect(deleted.hub, now=True)
    assert rows(deleted.hub, StoredObject) == 0
    assert deleted.bucket_nbytes() == 0


def test_ordinary_collection_takes_its_time(deleted: ModelHub):
    hub = deleted.hub
    files, stored = rows(hub, File), deleted.bucket_nbytes()
    assert collect(hub).files_condemned == 0
    steps = []
    for _ in range(8):
        hub.clock.sleep(DAY_S + 1)
        collect(hub)
        steps.append((rows(hub, File), rows(hub, Content), deleted.bucket_nbytes()))
    assert steps[0] == (files, steps[0][1], stored)
    assert steps[-1] == (0, 0, 0)
    assert [nbytes for *_, nbytes in steps] == sorted((n for *_, n in steps), reverse=True)


def test_condemned_file_still_reads_and_an_upload_resurrects_it(deleted: ModelHub):
    hub = deleted.hub
    hub.clock.sleep(DAY_S + 1)
    collect(hub)
    with hub.db.read() as session:
        assert {row.state for row in session.scalars(select(File))} == {"condemned"}
    deleted.push("alice/again", base_weights())
    hub.clock.sleep(DAY_S + 1)
    collect(hub)
    deleted.run_jobs()
    deleted.check()


def test_uploaded_file_waits_for_its_commit_as_long_as_its_lease(models: ModelHub):
    repo = models.repo("alice/a")
    ingest_stream(models.hub, [b"x" * 20_000], nbytes=20_000, sha256=None, repo_id=repo.id)
    collect(models.hub, now=True)
    before = rows(models.hub, File)
    models.hub.clock.sleep(models.hub.settings.timers.lease_s + 1)
    collect(models.hub, now=True)
    assert rows(models.hub, File) == before - 1
    assert rows(models.hub, Lease) == 0


def test_abandoned_upload_goes_after_its_intent_expired(hub: Hub):
    pending = objects.begin(hub, "upload")
    hub.store.put(pending.key, [b"half an upload"])
    assert collect(hub, now=True).objects_deleted == 0
    hub.clock.sleep(hub.settings.timers.intent_s + 1)
    report = collect(hub)
    assert (report.intents_expired, report.objects_deleted) == (1, 1)
    assert not list(hub.store.list())


def test_base_of_a_deleted_repository_lives_for_its_dependents(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/tune", tuned(base, 1))
    models.run_jobs()
    models.delete_repo("alice/base")
    collect(models.hub, now=True)
    models.check()


def test_orphan_base_is_handed_over_to_its_dependents(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/one", tuned(base, 1))
    models.push("bob/two", tuned(base, 2))
    models.run_jobs()
    models.delete_repo("alice/base")
    collect(models.hub, now=True)
    pinned = models.bucket_nbytes()
    run_periodic_job(models)
    collect(models.hub, now=True)
    models.run_jobs()
    collect(models.hub, now=True)
    assert models.bucket_nbytes() < 0.9 * pinned
    assert models.bucket_nbytes() <= models.stored_nbytes() / 0.8
    models.check()


def test_periodic_job_owes_forgotten_encodings_again(models: ModelHub):
    models.push("alice/base", base_weights())
    with models.hub.db.write() as session:
        for job in session.scalars(select(Job)):
            session.delete(job)
    models.hub.clock.sleep(2 * 3600)
    run_periodic_job(models)
    assert all(each.final for each in models.encodings("alice/base").values())
    models.check()


def test_replaced_object_stays_when_what_replaced_it_is_damaged(models: ModelHub):
    models.push("alice/base", base_weights())
    models.run_jobs()
    encoding = models.encodings("alice/base")["embed_tokens.weight"]
    with models.hub.db.read() as session:
        key = session.get_one(StoredObject, encoding.object_id).key
    nbytes = models.hub.store.stat(key).nbytes  # type: ignore[union-attr]
    data = bytearray(models.hub.store.read(key, 0, nbytes))
    data[encoding.start + encoding.nbytes // 2] ^= 1
    models.hub.store.delete(key)
    models.hub.store.put(key, [bytes(data)])
    collect(models.hub, now=True)
    models.check()
    assert models.encodings("alice/base")["embed_tokens.weight"].codec == "raw"


def test_store_that_fails_to_delete_is_asked_again(deleted: ModelHub):
    hub = deleted.hub
    faulty = FaultyStore(hub.store)
    hub.store = faulty
    faulty.fail("delete", Fault.BEFORE, Fault.AFTER)
    collect(hub, now=True)
    hub.clock.sleep(DAY_S * 2)
    collect(hub, now=True)
    assert not list(hub.store.list())
    assert rows(hub, StoredObject) == 0


def test_unknown_objects_of_this_epoch_go_others_stay(models: ModelHub):
    hub = models.hub
    hub.store.put(f"o/{hub.store_epoch}/aa/{'a' * 32}", [b"zombie"])
    hub.store.put(f"o/0ld/aa/{'b' * 32}", [b"from before the restore"])
    report = collect(hub, now=True)
    assert report.unknown_objects == 1
    assert [stat.key for stat in hub.store.list()] == [f"o/0ld/aa/{'b' * 32}"]
    assert [problem.kind for problem in fsck(hub).problems] == ["unknown-object"]


def test_one_ordinary_run_deletes_a_bounded_share(models: ModelHub, monkeypatch):
    monkeypatch.setattr("app.gc.collect.CAP_FLOOR", 3)
    models.push("alice/a", base_weights())
    models.run_jobs()
    models.delete_repo("alice/a")
    models.hub.clock.sleep(DAY_S + 1)
    collect(models.hub)
    models.hub.clock.sleep(DAY_S + 1)
    assert collect(models.hub).files_deleted <= 3
    models.hub.clock.sleep(DAY_S + 1)
    assert collect(models.hub).contents_deleted <= 3


def run_periodic_job(models: ModelHub) -> None:
    models.hub.db.run(lambda s: enqueue(s, models.hub, "gc", key="gc", payload={}))
    models.run_jobs()


def test_run_without_grace_takes_what_a_clock_that_was_ahead_left(any_models: ModelHub):
    """A year ahead, and put right again: times of everything lie where no lease can end."""
    models, clock = any_models, any_models.hub.clock
    assert isinstance(clock, ManualClock)
    models.push("alice/kept", base_weights(1))
    clock.advance(365 * DAY_S)
    models.push("alice/gone", tuned(base_weights(1), 2))
    models.run_jobs()
    repo = models.repo("alice/kept")
    ingest_stream(models.hub, [b"x" * 20_000], nbytes=20_000, sha256=None, repo_id=repo.id)
    objects.begin(models.hub, "never written")
    models.delete_repo("alice/gone")
    clock.advance(-365 * DAY_S)
    assert collect(models.hub).files_condemned == 0
    collect(models.hub, now=True)
    assert rows(models.hub, Lease) == 0
    with models.hub.db.read() as session:
        assert set(session.scalars(select(StoredObject.state))) == {"live"}
        held = session.scalars(select(File.id)).all()
    assert len(held) == len(models.pushed["alice/kept"]) + 1  # .gitattributes
    models.check()


def test_an_ordinary_run_takes_a_tenth_at_most(
    models: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake, like the deletion of everything, leaves time to be noticed."""
    monkeypatch.setattr("app.gc.collect.CAP_FLOOR", 2)
    timers = models.hub.settings.timers
    for number in range(40):
        models.push("alice/all", {f"{number}.bin": bytes([number]) * 20_000})
    models.delete_repo("alice/all")
    models.hub.clock.sleep(timers.lease_s + timers.condemn_s + 1)
    collect(models.hub)
    models.hub.clock.sleep(timers.kill_s + 1)

    first, second = collect(models.hub), collect(models.hub)

    assert first.files_deleted == 4
    assert 0 < second.files_deleted <= 4
    assert list(models.hub.store.list())
    collect(models.hub, now=True)
    assert not list(models.hub.store.list())
