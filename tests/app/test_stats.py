"""Every byte is accounted for, and the numbers add up exactly at every stage."""

import threading

from app.errors import Unavailable
from app.gc.collect import collect
from app.stats import Meter, Stats, measure
from tests.fixtures.models import ModelHub, base_weights, tuned, weight_file


def check_sum(models: ModelHub, stats: Stats) -> None:
    saved, overhead = stats.saved, stats.overhead
    assert stats.stored_bytes == models.bucket_nbytes()
    assert stats.stored_bytes == (
        stats.logical_bytes
        - (saved.file_dedup + saved.tensor_dedup + saved.delta + saved.coding)
        + (overhead.retired + overhead.held + overhead.other)
    )
    assert min(overhead.retired, overhead.held, overhead.other) >= 0


def test_numbers_add_up_from_upload_to_collection(models: ModelHub):
    base = base_weights()
    stages = []
    models.push("alice/base", base)
    stages.append(measure(models.hub))
    check_sum(models, stages[-1])
    models.run_jobs()
    stages.append(measure(models.hub))
    check_sum(models, stages[-1])
    models.push("bob/tune", tuned(base, 1, only=["layers.0.up.weight"]))
    models.push("bob/copy", {"weights.safetensors": weight_file(base)})
    models.run_jobs()
    stages.append(measure(models.hub))
    check_sum(models, stages[-1])
    collect(models.hub, now=True)
    stages.append(measure(models.hub))
    check_sum(models, stages[-1])

    uploaded, encoded, family, collected = stages
    size = len(weight_file(base))
    assert uploaded.logical_bytes == uploaded.stored_bytes >= size
    assert encoded.overhead.retired == size
    assert encoded.saved.coding > 0.25 * size
    assert family.saved.file_dedup >= size
    assert family.saved.tensor_dedup > 0.5 * size
    assert family.saved.delta > 0
    assert family.deltas == 1
    assert collected.overhead.retired == 0
    assert collected.overhead.held == 0
    assert collected.stored_bytes < family.stored_bytes


def test_history_counts_every_version_once(models: ModelHub):
    first, second = base_weights(1), base_weights(2)
    models.push("alice/a", first)
    models.push("alice/a", {"note.txt": b"a"})
    models.push("alice/a", second)
    models.push("alice/a", {"note.txt": b"b"})
    stats = measure(models.hub)
    assert stats.logical_bytes >= len(weight_file(first)) + len(weight_file(second)) + 2
    assert stats.logical_bytes < len(weight_file(first)) + len(weight_file(second)) + 2 + 10_000


def test_pinned_base_of_a_deleted_repository_is_overhead(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/one", tuned(base, 1))
    models.push("bob/two", tuned(base, 2))
    models.run_jobs()
    models.delete_repo("alice/base")
    stats = measure(models.hub)
    check_sum(models, stats)
    assert stats.overhead.held > 0.3 * len(weight_file(base))


def test_nothing_waits_after_all_jobs_of_a_new_repository(models: ModelHub):
    models.repo("alice/empty")
    assert measure(models.hub).waiting == 1
    models.run_jobs()
    stats = measure(models.hub)
    assert (stats.contents, stats.waiting) == (1, 0)


def test_a_measurement_is_good_for_as_long_as_it_was_dear(models: ModelHub, monkeypatch):
    monkeypatch.setattr("app.stats.MEASURING_SHARE", 1e6)
    meter = Meter(models.hub)
    before = meter.latest(wait_s=60)
    assert before is not None
    models.push("alice/base", base_weights())
    assert meter.latest(wait_s=60) is before
    monkeypatch.setattr("app.stats.MEASURING_SHARE", 0)
    after = Meter(models.hub).latest(wait_s=60)
    assert after is not None
    assert after.stats.stored_bytes == models.bucket_nbytes() > before.stats.stored_bytes


def test_whoever_does_not_wait_gets_the_last_measurement(models: ModelHub, monkeypatch):
    monkeypatch.setattr("app.stats.MEASURING_SHARE", 0)
    meter = Meter(models.hub)
    first = meter.latest(wait_s=60)
    going_on, asked = threading.Event(), threading.Event()

    def slow(hub):
        asked.set()
        assert going_on.wait(60)
        return measure(hub)

    monkeypatch.setattr("app.stats.measure", slow)
    assert meter.latest(wait_s=0) is first
    assert asked.wait(60)
    assert meter.latest(wait_s=0) is first
    going_on.set()
    fresh = meter.latest(wait_s=60)
    assert fresh is not None
    assert fresh is not first


def test_a_measurement_that_fails_leaves_the_last_one(models: ModelHub, monkeypatch):
    monkeypatch.setattr("app.stats.MEASURING_SHARE", 0)
    meter = Meter(models.hub)

    def fail(_hub):
        raise Unavailable("no answer")

    monkeypatch.setattr("app.stats.measure", fail)
    assert meter.latest(wait_s=60) is None
    monkeypatch.undo()
    assert meter.latest(wait_s=60) is not None
