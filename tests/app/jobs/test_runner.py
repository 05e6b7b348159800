"""Jobs run at least once, never twice at the same time, and survive the death of their runner."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from app.clock import ManualClock, SystemClock
from app.db import Database
from app.db.tables import Job
from app.errors import Damaged
from app.hub import Hub
from app.jobs import runner as runner_module
from app.jobs.lease import JobLost, claim_next, finish
from app.jobs.outbox import enqueue
from app.jobs.runner import Handler, JobContext, Runner, drain, run_job, run_one
from app.store.contract import StoreUnavailable

WORKER = """
import sys, time
from pathlib import Path
from pydantic import SecretStr
from app.hub import open_hub
from app.jobs.runner import run_one
from app.settings import Settings

def hang(context):
    print("running", flush=True)
    time.sleep(600)

settings = Settings(data=Path(sys.argv[1]), database_url=SecretStr(sys.argv[2]), store_url="memory://")
run_one(open_hub(settings), {"encode": hang}, "victim")
"""


def queue(hub: Hub, *names: str, kind: str = "encode", priority: int = 0) -> None:
    with hub.db.write() as session:
        for name in names:
            enqueue(session, hub, kind, key=name, payload={"name": name}, priority=priority)


def only_job(hub: Hub) -> Job:
    with hub.db.read() as session:
        return session.scalars(select(Job)).one()


def manual(hub: Hub) -> ManualClock:
    assert isinstance(hub.clock, ManualClock)
    return hub.clock


def second_hub(hub: Hub) -> Hub:
    """The same hub as another process would open it."""
    return Hub(
        settings=hub.settings,
        db=Database(hub.settings.resolved_database_url),
        store=hub.store,
        clock=hub.clock,
    )


@pytest.fixture
def other_hub(any_hub: Hub) -> Iterator[Hub]:
    other = second_hub(any_hub)
    yield other
    other.db.dispose()


def test_jobs_run_by_priority_then_age(any_hub: Hub):
    queue(any_hub, "old", "new")
    queue(any_hub, "urgent", priority=-1)
    ran: list[object] = []
    assert drain(any_hub, {"encode": lambda context: ran.append(context.payload["name"])}) == 3
    assert ran == ["urgent", "old", "new"]


def test_done_job_keeps_its_progress(any_hub: Hub):
    queue(any_hub, "a")
    drain(any_hub, {"encode": lambda context: context.progress(70, 70)})
    job = only_job(any_hub)
    assert (job.state, job.progress_done, job.progress_total) == ("done", 70, 70)
    assert (job.attempts, job.lease_owner, job.lease_until) == (1, None, None)
    assert job.finished_at == any_hub.clock.now()


def test_two_runners_never_run_one_job_at_once(any_hub: Hub, other_hub: Hub):
    names = [f"job-{n}" for n in range(60)]
    ran: Counter[object] = Counter()
    lock = threading.Lock()
    all_ran = threading.Event()

    def work(context: JobContext) -> None:
        with lock:
            ran[context.payload["name"]] += 1
            if ran.total() == len(names):
                all_ran.set()

    runners = [Runner(hub, {"encode": work}, threads=3) for hub in (any_hub, other_hub)]
    queue(any_hub, *names)
    for runner in runners:
        runner.start()
    assert all_ran.wait(60)
    for runner in runners:
        runner.stop()
    assert drain(any_hub, {"encode": work}) == 0
    assert ran == Counter(names)


def test_failure_waits_longer_each_time_then_gives_up(any_hub: Hub):
    queue(any_hub, "a")

    def fail(_context: JobContext) -> None:
        raise Damaged("the base vanished")

    waits: list[float] = []
    while run_one(any_hub, {"encode": fail}, "runner"):
        job = only_job(any_hub)
        assert job.error == "the base vanished"
        assert not run_one(any_hub, {"encode": fail}, "runner"), "must wait first"
        if job.state == "queued":
            waits.append((job.run_after - any_hub.clock.now()).total_seconds())
            manual(any_hub).advance(waits[-1])
    assert waits == [2, 4, 8, 16, 32, 64, 128]
    job = only_job(any_hub)
    assert (job.state, job.attempts) == ("failed", any_hub.settings.jobs.max_attempts)
    assert job.finished_at is not None


def test_drain_waits_out_the_back_off(any_hub: Hub):
    queue(any_hub, "a")

    def fail_twice(context: JobContext) -> None:
        if context.attempt < 3:
            raise ValueError("not yet")

    assert drain(any_hub, {"encode": fail_twice}) == 3
    assert only_job(any_hub).state == "done"
    assert only_job(any_hub).error is None


def test_unknown_kind_is_a_failure_not_a_loss(any_hub: Hub):
    queue(any_hub, "a", kind="from-the-future")
    assert run_one(any_hub, {}, "runner")
    job = only_job(any_hub)
    assert job.state == "queued"
    assert job.error is not None
    assert "from-the-future" in job.error


def test_killed_runner_s_job_is_finished_by_another(any_hub: Hub):
    queue(any_hub, "a")
    with any_hub.db.write() as session:  # the victim's clock is the machine's
        session.scalars(select(Job)).one().run_after = datetime(2020, 1, 1, tzinfo=UTC)
    command = [sys.executable, "-c", WORKER, str(any_hub.settings.data)]
    url = any_hub.settings.resolved_database_url
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "running\n"
        victim.send_signal(signal.SIGKILL)
    any_hub.clock = ManualClock(datetime.now(UTC))
    ran: list[int] = []
    handlers: dict[str, Handler] = {"encode": lambda context: ran.append(context.attempt)}
    assert not run_one(any_hub, handlers, "second"), "the lease still holds"
    assert only_job(any_hub).lease_owner is not None
    manual(any_hub).advance(any_hub.settings.timers.job_lease_s)
    assert run_one(any_hub, handlers, "second")
    assert ran == [2]
    assert only_job(any_hub).state == "done"


def test_job_that_kills_its_runners_is_given_up(any_hub: Hub):
    queue(any_hub, "poison", "sound")
    for _ in range(any_hub.settings.jobs.max_attempts):
        claim = claim_next(any_hub, "victim")
        assert claim is not None
        assert claim.payload == {"name": "poison"}
        manual(any_hub).advance(any_hub.settings.timers.job_lease_s + 1)
    ran: list[object] = []
    assert run_one(any_hub, {"encode": lambda c: ran.append(c.payload["name"])}, "runner")
    assert ran == ["sound"]
    with any_hub.db.read() as session:
        poison = session.scalars(select(Job).where(Job.key == "poison")).one()
    assert poison.state == "failed"
    assert poison.error == "the runner died in each of 8 attempts"


@pytest.mark.parametrize("fails", [False, True])
def test_lost_lease_can_change_nothing(any_hub: Hub, other_hub: Hub, fails: bool):
    queue(any_hub, "a")
    checked: list[str] = []

    def slow(context: JobContext) -> None:
        manual(any_hub).advance(any_hub.settings.timers.job_lease_s + 1)
        assert run_one(other_hub, {"encode": lambda c: c.progress(5, 5)}, "second")
        context.progress(1, 9)
        try:
            context.check()
        except JobLost:
            checked.append("lost")
        if fails:  # goes on as if it had not noticed
            raise ValueError("too late")

    assert run_one(any_hub, {"encode": slow}, "first")
    job = only_job(any_hub)
    assert checked == ["lost"]
    assert (job.state, job.attempts, job.progress_done, job.error) == ("done", 2, 5, None)


def test_fence_holds_between_claims_of_one_runner(any_hub: Hub):
    queue(any_hub, "a")
    first = claim_next(any_hub, "runner")
    manual(any_hub).advance(any_hub.settings.timers.job_lease_s + 1)
    second = claim_next(any_hub, "runner")
    assert first is not None
    assert second is not None
    with pytest.raises(JobLost):
        finish(any_hub, first, (0, 0))
    finish(any_hub, second, (0, 0))


def test_check_renews_a_lease_that_nobody_took(any_hub: Hub):
    queue(any_hub, "a")

    def slow(context: JobContext) -> None:
        manual(any_hub).advance(any_hub.settings.timers.job_lease_s + 1)
        context.check()
        lease = only_job(any_hub).lease_until
        assert lease is not None
        assert lease > any_hub.clock.now()

    assert run_one(any_hub, {"encode": slow}, "first")
    assert only_job(any_hub).state == "done"


def test_heartbeat_renews_and_shows_progress(any_hub: Hub):
    any_hub.clock = SystemClock()
    timers = any_hub.settings.timers.model_copy(update={"job_lease_s": 3.0})
    any_hub.settings = any_hub.settings.model_copy(update={"timers": timers})
    queue(any_hub, "a")
    seen: list[tuple[int, int]] = []

    def slow(context: JobContext) -> None:
        before = only_job(any_hub).lease_until
        assert before is not None
        context.progress(3, 7)
        while (job := only_job(any_hub)).progress_done == 0:
            threading.Event().wait(0.02)
        assert job.lease_until is not None
        assert job.lease_until > before
        seen.append((job.progress_done, job.progress_total))

    assert run_one(any_hub, {"encode": slow}, "runner")
    assert seen == [(3, 7)]
    assert only_job(any_hub).error is None


def test_run_job_runs_that_job_only(any_hub: Hub):
    queue(any_hub, "a", "b")
    with any_hub.db.read() as session:
        a, b = session.scalars(select(Job.id).order_by(Job.id))
    ran: list[int] = []
    handlers: dict[str, Handler] = {"encode": lambda context: ran.append(context.job_id)}
    assert run_job(any_hub, handlers, b, "runner")
    assert not run_job(any_hub, handlers, b, "runner"), "done already"
    assert not run_job(any_hub, handlers, b + 1000, "runner"), "unknown"
    assert ran == [b]
    assert run_job(any_hub, handlers, a, "runner")


def test_idle_runner_starts_at_the_notification(any_hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner_module, "POLL_S", 600.0)
    ran = threading.Event()
    runner = Runner(any_hub, {"encode": lambda _context: ran.set()}, threads=2)
    runner.start()
    queue(any_hub, "a")
    assert ran.wait(60)
    runner.stop()


def test_idle_runner_finds_what_nobody_told(any_hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner_module, "POLL_S", 0.05)
    ran = threading.Event()
    runner = Runner(any_hub, {"encode": lambda _context: ran.set()}, threads=1)
    runner.start()
    any_hub.notify_jobs = lambda _ids: None
    queue(any_hub, "a")
    assert ran.wait(60)
    runner.stop()


def test_stopping_runner_gives_the_job_back(any_hub: Hub):
    queue(any_hub, "a")
    running = threading.Event()

    def until_stopped(context: JobContext) -> None:
        running.set()
        context.stopping.wait()
        context.check()

    runner = Runner(any_hub, {"encode": until_stopped}, threads=1)
    runner.start()
    assert running.wait(60)
    runner.stop()
    job = only_job(any_hub)
    assert (job.state, job.attempts, job.error) == ("queued", 0, None)
    assert run_one(any_hub, {"encode": lambda _context: None}, "next")


def test_store_that_is_away_for_long_fails_no_job_for_good(any_hub: Hub):
    queue(any_hub, "a")
    away = any_hub.settings.jobs.max_attempts + 3

    def handler(_context: JobContext) -> None:
        nonlocal away
        away -= 1
        if away >= 0:
            raise StoreUnavailable("the bucket does not answer")

    drain(any_hub, {"encode": handler})
    job = only_job(any_hub)
    assert (job.state, job.error, away) == ("done", None, -1)


def test_damage_is_given_up_as_any_failure(any_hub: Hub):
    queue(any_hub, "a")

    def handler(_context: JobContext) -> None:
        raise Damaged("no other copy")

    assert drain(any_hub, {"encode": handler}) == any_hub.settings.jobs.max_attempts
    assert only_job(any_hub).state == "failed"


@pytest.mark.parametrize("state", ["queued", "failed once", "running"])
def test_job_written_while_the_clock_was_ahead_runs(any_hub: Hub, state: str):
    """By half a year: nobody waits for that time to come."""
    manual(any_hub).advance(180 * 24 * 3600)
    queue(any_hub, "a")
    if state == "failed once":
        run_one(any_hub, {}, "no handler")
    elif state == "running":
        assert claim_next(any_hub, "dies")
    manual(any_hub).advance(-180 * 24 * 3600)
    assert run_one(any_hub, {"encode": lambda _context: None}, "next")
    assert only_job(any_hub).state == "done"


def test_lease_of_a_machine_whose_clock_is_a_little_ahead_holds(any_hub: Hub):
    queue(any_hub, "a")
    manual(any_hub).advance(600)
    assert claim_next(any_hub, "ahead")
    manual(any_hub).advance(-600)
    assert claim_next(any_hub, "other") is None
