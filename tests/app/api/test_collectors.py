"""What /metrics reads when it is asked."""

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from app.api.collectors import QueueCollector, SizeCollector
from app.hub import Hub
from app.jobs.outbox import enqueue
from app.stats import Meter


def value(collector: Collector, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry.get_sample_value(name, labels)


def test_queue_tells_what_waits_and_for_how_long(any_hub: Hub):
    collector = QueueCollector(any_hub)
    assert value(collector, "clade_jobs", kind="encode", state="queued") is None
    with any_hub.db.write() as session:
        for file_id in (1, 2):
            enqueue(session, any_hub, "encode", key=f"file:{file_id}", payload={"file_id": file_id})
    any_hub.clock.sleep(900)
    assert value(collector, "clade_jobs", kind="encode", state="queued") == 2
    assert value(collector, "clade_job_oldest_wait_seconds", kind="encode") == 900


def test_size_is_absent_until_it_was_measured(hub: Hub, monkeypatch):
    meter = Meter(hub)
    monkeypatch.setattr(meter, "latest", lambda **_wait: None)
    assert value(SizeCollector(meter), "clade_repos") is None
    monkeypatch.undo()
    assert value(SizeCollector(meter), "clade_repos") == 0
    assert value(SizeCollector(meter), "clade_saved_bytes", cause="delta") == 0
