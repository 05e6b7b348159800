"""The outbox forgets what was done long ago, and nothing else."""

from app.clock import ManualClock
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.listing import list_jobs
from app.jobs.outbox import enqueue
from app.jobs.pruning import prune_finished
from app.jobs.runner import drain


def queue(hub: Hub, *names: str) -> None:
    with hub.db.write() as session:
        for name in names:
            enqueue(session, hub, "work", key=name, payload={"fail": int(name == "failed")})


def work(context: JobContext) -> None:
    if context.payload["fail"]:
        raise ValueError("as asked")


def keys(hub: Hub) -> set[str]:
    with hub.db.read() as session:
        return {job.key for job in list_jobs(session)}


def test_only_jobs_done_long_ago_are_forgotten(any_hub: Hub):
    clock = any_hub.clock
    assert isinstance(clock, ManualClock)
    queue(any_hub, "old", "failed")
    for _ in range(any_hub.settings.jobs.max_attempts):
        drain(any_hub, {"work": work})
        clock.advance(24 * 3600)
    clock.advance(any_hub.settings.jobs.finished_kept_s)
    queue(any_hub, "new")
    drain(any_hub, {"work": work})
    queue(any_hub, "waiting")

    assert prune_finished(any_hub) == 1
    assert keys(any_hub) == {"failed", "new", "waiting"}
    assert prune_finished(any_hub) == 0
