"""The queue of jobs as the command line shows it, and helps to empty it."""

import time
from collections.abc import Sequence
from typing import Any

from rich.progress import Progress, TaskID

from app.cli.bars import bars
from app.db.tables import Job
from app.hub import Hub
from app.jobs.listing import JobSummary, list_jobs, summary
from app.jobs.runner import process_name, run_one
from app.tasks import HANDLERS

POLL_S = 0.2


def job_facts(hub: Hub) -> dict[str, Any]:
    """How many jobs are in each state, and the errors of those that were given up."""
    with hub.db.read() as session:
        counts = summary(session)
        failed = list_jobs(session, state="failed", limit=20)
    return {
        "queued": counts.queued,
        "running": counts.running,
        "done": counts.done,
        "failed": counts.failed,
        "errors": [{"job": row.id, "kind": row.kind, "error": row.error} for row in failed],
    }


def follow_jobs(hub: Hub, *, show: bool, until_done: bool) -> None:
    """Watch the queue until interrupted; with ``until_done`` work on it until it is empty.

    Working on it is safe beside running servers and workers: jobs are claimed by lease.
    """
    with bars(show=show) as progress:
        watched = _WatchedJobs(progress)
        while True:
            worked = until_done and run_one(hub, HANDLERS, process_name())
            with hub.db.read() as session:
                counts = summary(session)
                running = list_jobs(session, state="running", limit=20)
            watched.update(counts, running)
            if until_done and counts.unfinished == 0:
                return
            if not worked:
                time.sleep(POLL_S)


class _WatchedJobs:
    """A bar for all jobs since the watch began, and one for each that runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._all = progress.add_task("jobs", total=None)
        self._finished_before: int | None = None
        self._bars: dict[int, TaskID] = {}

    def update(self, counts: JobSummary, running: Sequence[Job]) -> None:
        finished = counts.done + counts.failed
        if self._finished_before is None:
            self._finished_before = finished
        done = finished - self._finished_before
        said = f"jobs: {counts.queued:,} queued, {counts.running:,} running, {done:,} finished"
        total = done + counts.unfinished
        self._progress.update(self._all, description=said, completed=done, total=total or None)
        for job in running:
            if job.id not in self._bars:
                self._bars[job.id] = self._progress.add_task(f"  {job.kind} {job.key}", total=None)
            self._progress.update(
                self._bars[job.id], completed=job.progress_done, total=job.progress_total or None
            )
        for gone in self._bars.keys() - {job.id for job in running}:
            self._progress.remove_task(self._bars.pop(gone))
