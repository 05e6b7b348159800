"""The queue as people see it."""

from app.hub import Hub
from app.jobs.lease import claim_next
from app.jobs.listing import list_jobs, summary
from app.jobs.outbox import enqueue
from app.jobs.runner import drain


def queue(hub: Hub, count: int) -> None:
    with hub.db.write() as session:
        for number in range(count):
            enqueue(session, hub, "encode", key=str(number), payload={})


def test_pages_go_from_new_to_old(any_hub: Hub):
    queue(any_hub, 5)
    with any_hub.db.read() as session:
        first = list_jobs(session, limit=3)
        rest = list_jobs(session, limit=3, before=first[-1].id)
    assert [job.key for job in (*first, *rest)] == ["4", "3", "2", "1", "0"]


def test_listing_and_summary_by_state(any_hub: Hub):
    began = any_hub.clock.now()
    queue(any_hub, 2)
    drain(any_hub, {"encode": lambda _context: None})
    queue(any_hub, 3)
    claim_next(any_hub, "runner")
    with any_hub.db.read() as session:
        counts = summary(session)
        running = list_jobs(session, state="running")
    assert (counts.queued, counts.running, counts.done, counts.failed) == (2, 1, 2, 0)
    assert counts.unfinished == 3
    assert counts.oldest_queued_at == began
    assert [job.key for job in running] == ["0"]


def test_summary_of_an_empty_queue(any_hub: Hub):
    with any_hub.db.read() as session:
        assert summary(session).oldest_queued_at is None
