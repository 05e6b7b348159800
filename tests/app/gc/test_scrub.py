"""The scrubber reads every object once a period, within its budget, and tells what it finds."""

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.api.collectors import KeepingCollector
from app.db.tables import Finding, StoredObject
from app.gc.repair import repair
from app.gc.scrub import oldest_unread, scrub
from app.jobs.context import JobContext
from app.main import create_app
from app.stats import measure
from tests.fixtures.models import ModelHub, base_weights


@pytest.fixture
def model(any_models: ModelHub) -> ModelHub:
    any_models.push("alice/a", base_weights())
    any_models.push("alice/a", {"notes.bin": bytes(range(256)) * 100})
    return any_models


def run_scrub(models: ModelHub) -> None:
    scrub(JobContext(models.hub, 0, {}))


def unread_s(models: ModelHub) -> float:
    with models.hub.db.read() as session:
        since = oldest_unread(session)
    assert since is not None
    return (models.hub.clock.now() - since).total_seconds()


def damage(models: ModelHub) -> str:
    with models.hub.db.read() as session:
        key, nbytes = session.execute(
            select(StoredObject.key, StoredObject.nbytes).order_by(StoredObject.nbytes.desc())
        ).first()  # type: ignore[misc]
    data = bytearray(models.hub.store.read(key, 0, nbytes))
    data[nbytes // 2] ^= 1
    models.hub.store.delete(key)
    models.hub.store.put(key, [bytes(data)])
    return key


def test_objects_are_read_when_their_period_is_over(model: ModelHub) -> None:
    damage(model)
    run_scrub(model)
    assert measure(model.hub).findings == 0, "all were read back when they were stored"

    period_s = model.hub.settings.timers.scrub_s
    model.hub.clock.sleep(period_s - 1)
    run_scrub(model)
    assert measure(model.hub).findings == 0
    model.hub.clock.sleep(1)
    assert unread_s(model) == period_s
    run_scrub(model)

    assert unread_s(model) == 0
    assert measure(model.hub).findings == 1


def test_budget_ends_a_run_and_the_next_goes_on(
    model: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = model.hub.settings.jobs.model_copy(update={"scrub_nbytes": 1})
    model.hub.settings = model.hub.settings.model_copy(update={"jobs": jobs})
    model.hub.clock.sleep(model.hub.settings.timers.scrub_s)
    with model.hub.db.read() as session:
        live = len(session.scalars(select(StoredObject).where(StoredObject.state == "live")).all())
    runs = 0
    while unread_s(model) > 0:
        run_scrub(model)
        runs += 1

    assert runs == live > 1


def test_findings_degrade_the_hub_until_they_are_mended(model: ModelHub) -> None:
    model.hub.settings.data.mkdir(exist_ok=True)
    client = TestClient(create_app(model.hub))
    key = damage(model)
    model.hub.clock.sleep(model.hub.settings.timers.scrub_s)
    run_scrub(model)

    ready = client.get("/readyz")
    metrics = {
        (sample.name, sample.labels.get("kind")): sample.value
        for family in KeepingCollector(model.hub).collect()
        for sample in family.samples
    }

    assert ready.status_code == 200
    assert "1 damaged-content" in ready.json()["degraded"]["damage"]
    assert metrics["clade_findings", "damaged-content"] == 1
    assert metrics["clade_findings", "lost-object"] == 0
    assert metrics["clade_oldest_unread_seconds", None] == 0
    was = bytearray(model.hub.store.read(key, 0, model.hub.store.stat(key).nbytes))  # type: ignore[union-attr]
    was[len(was) // 2] ^= 1
    model.hub.store.delete(key)
    model.hub.store.put(key, [bytes(was)])
    assert repair(model.hub).left == 0
    assert "damage" not in client.get("/readyz").json()["degraded"]


def test_one_unreadable_object_does_not_stop_the_others(
    models: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.push("alice/a", base_weights())
    models.push("alice/a", {"notes.bin": bytes(range(256)) * 100})
    models.hub.clock.sleep(models.hub.settings.timers.scrub_s)
    with models.hub.db.read() as session:
        bad = session.scalars(select(StoredObject.key).order_by(StoredObject.id)).first()
    read = models.hub.store.read

    def failing(key: str, start: int, stop: int) -> bytes:
        if key == bad:
            from app.store.contract import StoreRefused

            raise StoreRefused("a bad sector")
        return read(key, start, stop)

    monkeypatch.setattr(models.hub.store, "read", failing)
    run_scrub(models)

    with models.hub.db.read() as session:
        assert session.scalars(select(Finding.kind)).all() == ["unreadable-object"]
    assert unread_s(models) == 0
