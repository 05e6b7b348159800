"""Run jobs: one, one by id, all there are, or forever on threads."""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import structlog
from sqlalchemy import func, select

from app.db.tables import Job
from app.errors import Damaged, HubError, Unavailable
from app.hub import Hub
from app.jobs import lease
from app.jobs.context import Heartbeat, JobContext, JobStopped
from app.jobs.lease import Claim, JobLost
from app.jobs.schedule import LOOK_S, queue_due

__all__ = [
    "Handler",
    "JobContext",
    "JobLost",
    "JobStopped",
    "Runner",
    "drain",
    "run_job",
    "run_one",
]

Handler = Callable[[JobContext], None]
"""Does the work of one kind of job. Idempotent: it may run again after any crash."""

POLL_S = 1.0
"""How often an idle runner looks for jobs that nobody told it of."""

log = structlog.get_logger(__name__)


def run_one(
    hub: Hub,
    handlers: Mapping[str, Handler],
    owner: str,
    *,
    stopping: threading.Event | None = None,
    kinds: Collection[str] | None = None,
) -> bool:
    """Claim the most urgent job, of these kinds if given, and run it; False if there was none.

    Failures of the handler are recorded in the job's row, not raised.
    """
    claim = lease.claim_next(hub, owner, kinds)
    if claim is None:
        return False
    _run(hub, handlers, claim, stopping or threading.Event())
    return True


def run_job(hub: Hub, handlers: Mapping[str, Handler], job_id: int, owner: str) -> bool:
    """Run this job if it may run now; False if it is done, taken, waiting or unknown."""
    claim = lease.claim_one(hub, job_id, owner)
    if claim is None:
        return False
    _run(hub, handlers, claim, threading.Event())
    return True


def drain(hub: Hub, handlers: Mapping[str, Handler]) -> int:
    """Run jobs until none is queued or running anywhere; how many attempts this call made.

    Waits out the back-off of failed jobs (by the hub's clock) and jobs that others run.
    """
    owner = process_name()
    attempts = 0
    while True:
        if run_one(hub, handlers, owner):
            attempts += 1
            continue
        running, next_run = _pending(hub)
        if running:
            time.sleep(0.05)
        elif next_run is not None:
            hub.clock.sleep(max(0.001, (next_run - hub.clock.now()).total_seconds()))
        else:
            return attempts


def process_name() -> str:
    """Who we are in ``lease_owner``: host and process."""
    return f"{socket.gethostname()[:24]}:{os.getpid()}"


class Runner:
    """Threads that run jobs as they come. ``start`` makes the hub's notifications wake them.

    ``periods`` names kinds that are owed every so many seconds, see ``app.jobs.schedule``. With
    ``kinds`` it leaves jobs of all others to others.
    """

    def __init__(
        self,
        hub: Hub,
        handlers: Mapping[str, Handler],
        threads: int,
        *,
        periods: Mapping[str, float] | None = None,
        kinds: Collection[str] | None = None,
    ) -> None:
        self._hub = hub
        self._kinds = kinds
        self._handlers = handlers
        self._periods = periods or {}
        self._look_at = 0.0
        self._stopping = threading.Event()
        self._bell = threading.Condition()
        self._rings = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"job-runner-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Start the threads; jobs committed from now on start at once."""
        others = self._hub.notify_jobs

        def notify_all(job_ids: list[int]) -> None:
            others(job_ids)
            self.notify(job_ids)

        self._hub.notify_jobs = notify_all
        for thread in self._threads:
            thread.start()

    def notify(self, _job_ids: list[int]) -> None:
        """Wake idle threads."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Take no new jobs, ask running handlers to stop, wait for them up to ``timeout_s``.

        A handler that does not stop in time dies with the process; its lease expires.
        """
        self._stopping.set()
        self.notify([])
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        owner = f"{process_name()}:{threading.get_native_id()}"
        while not self._stopping.is_set():
            rings = self._rings
            try:
                self._queue_due()
                if run_one(
                    self._hub, self._handlers, owner, stopping=self._stopping, kinds=self._kinds
                ):
                    continue
            except Exception as error:  # noqa: BLE001 - the database is away; jobs wait for it
                log.warning("job.claim_failed", error=str(error))
            with self._bell:
                self._bell.wait_for(lambda seen=rings: self._rings != seen, POLL_S)

    def _queue_due(self) -> None:
        """Queue periodic work; one thread looks now and then."""
        with self._bell:
            if not self._periods or time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + LOOK_S
        queue_due(self._hub, self._periods)


def _run(
    hub: Hub, handlers: Mapping[str, Handler], claim: Claim, stopping: threading.Event
) -> None:
    """One attempt. Only the claim's own transaction may fail it; the handler cannot."""
    began = time.monotonic()
    where = {"job_id": claim.job_id, "kind": claim.kind, "attempt": claim.attempt}
    try:
        try:
            error = _attempt(hub, handlers, claim, stopping)
        except JobStopped:
            lease.give_back(hub, claim)
            log.info("job.given_back", **where)
            return
    except JobLost:
        log.warning("job.lost", **where)
        return
    seconds = round(time.monotonic() - began, 3)
    if error is None:
        log.info("job.done", seconds=seconds, **where)
    else:
        log.warning("job.failed", seconds=seconds, error=error, **where)


def _attempt(
    hub: Hub, handlers: Mapping[str, Handler], claim: Claim, stopping: threading.Event
) -> str | None:
    """Run the handler and record how it ended; the error's text if it failed."""
    with Heartbeat(hub, claim) as heartbeat:
        context = JobContext(hub, claim.job_id, claim.payload, claim.attempt, stopping, heartbeat)
        try:
            handler = handlers.get(claim.kind)
            if handler is None:
                raise LookupError(f"no handler for jobs of kind {claim.kind!r}")
            handler(context)
        except (JobLost, JobStopped):
            raise
        except Exception as error:
            text = (
                error.message if isinstance(error, HubError) else f"{type(error).__name__}: {error}"
            )
            log.debug("job.error", job_id=claim.job_id, exc_info=True)
            away = isinstance(error, Unavailable) and not isinstance(error, Damaged)
            lease.fail(hub, claim, text, transient=away)
            return text
    lease.finish(hub, claim, heartbeat.latest)
    return None


def _pending(hub: Hub) -> tuple[int, datetime | None]:
    """How many jobs run, and when the first queued one may."""
    with hub.db.read() as session:
        running = session.scalar(select(func.count()).where(Job.state == "running")) or 0
        next_run = session.scalar(select(func.min(Job.run_after)).where(Job.state == "queued"))
    return running, next_run
