"""Periodic work is queued when due, by whoever looks first."""

import threading

from app.clock import ManualClock
from app.hub import Hub
from app.jobs.listing import list_jobs
from app.jobs.runner import Runner, drain
from app.jobs.schedule import queue_due

PERIODS = {"gc": 60.0, "census": 600.0}


def kinds_run(hub: Hub) -> list[str]:
    queue_due(hub, PERIODS)
    queue_due(hub, PERIODS)
    before = states(hub).count("done")
    drain(hub, dict.fromkeys(PERIODS, lambda _context: None))
    with hub.db.read() as session:
        done = list_jobs(session)
    return sorted(job.kind for job in done[: len(done) - before])


def states(hub: Hub) -> list[str]:
    with hub.db.read() as session:
        return [job.state for job in list_jobs(session)]


def test_each_kind_by_its_period(any_hub: Hub):
    assert isinstance(any_hub.clock, ManualClock)
    assert kinds_run(any_hub) == ["census", "gc"]
    assert kinds_run(any_hub) == []
    any_hub.clock.advance(60)
    assert kinds_run(any_hub) == ["gc"]
    any_hub.clock.advance(599)
    assert kinds_run(any_hub) == ["census", "gc"]


def test_overdue_work_is_queued_once(any_hub: Hub):
    assert isinstance(any_hub.clock, ManualClock)
    for _ in range(5):
        queue_due(any_hub, PERIODS)
        any_hub.clock.advance(10_000)
    assert states(any_hub) == ["queued", "queued"]


def test_runner_starts_what_is_due(any_hub: Hub):
    ran = threading.Event()
    runner = Runner(any_hub, {"gc": lambda _context: ran.set()}, 1, periods={"gc": 60.0})
    runner.start()
    assert ran.wait(60)
    runner.stop()


def test_work_queued_while_the_clock_was_ahead_does_not_hold_back_the_next(any_hub: Hub):
    assert isinstance(any_hub.clock, ManualClock)
    any_hub.clock.advance(300 * 24 * 3600)
    assert kinds_run(any_hub) == ["census", "gc"]
    any_hub.clock.advance(-300 * 24 * 3600)
    assert kinds_run(any_hub) == ["census", "gc"]
