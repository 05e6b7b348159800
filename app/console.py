"""What the command line prints: facts as plain dictionaries, and their rendering for people."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from app.db.tables import Job
from app.deltas.reencode import outdated, owe_reencoding
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.jobs.listing import JobSummary, list_jobs, summary
from app.jobs.runner import process_name, run_one
from app.stats import measure
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
    with _bars(show=show) as progress:
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


def stats_facts(hub: Hub) -> dict[str, Any]:
    """The byte accounting of the whole hub."""
    return asdict(measure(hub))


def fsck_facts(hub: Hub, *, deep: bool, show: bool) -> tuple[dict[str, Any], bool]:
    """What the check found, and whether all is well; ``show`` a bar while bytes are read."""
    with _bars(show=show and deep and sys.stderr.isatty()) as progress:
        bar = progress.add_task("reading", total=None)
        report = fsck(
            hub,
            deep=deep,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    return asdict(report) | {"clean": report.clean}, report.clean


def gc_facts(hub: Hub, *, now: bool) -> dict[str, Any]:
    """What one collection did."""
    return asdict(collect(hub, now=now))


def reencode_facts(hub: Hub, *, wait: bool, show: bool) -> dict[str, Any]:
    """Queue the job that codes again what an older encoder stored; how much that is, or was.

    With ``wait`` all jobs are done on return, and the facts tell what is left.
    """
    with hub.db.read() as session:
        old = outdated(session)
    facts = asdict(old) | {"queued": bool(old.contents)}
    if old.contents:
        hub.db.run(lambda session: owe_reencoding(session, hub))
    if old.contents and wait:
        follow_jobs(hub, show=show, until_done=True)
        with hub.db.read() as session:
            facts |= {"queued": False, "contents_left": outdated(session).contents}
    return facts


def as_lines(facts: dict[str, Any]) -> list[str]:
    """Facts for people: a name and a value per line, what is nested indented, no line broken."""
    rows = list(_rows(facts, ""))
    labels = max((len(label) for label, value in rows if value), default=0)
    numbers = max((len(value) for _, value in rows if value[:1].isdigit()), default=0)
    return [
        f"{label:<{labels}}  {value:>{numbers}}".rstrip() if value else label
        for label, value in rows
    ]


def _rows(facts: dict[str, Any], indent: str) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        label = indent + name.replace("_", " ")
        match value:
            case dict():
                yield label, ""
                yield from _rows(value, indent + "  ")
            case [] | None:
                yield label, "none"
            case list():
                yield label, ""
                for item in value:
                    yield f"{indent}  - {_item(item)}", ""
            case bool():
                yield label, "yes" if value else "no"
            case int():
                yield label, f"{value:,}"
            case _:
                yield label, str(value)


def _item(item: object) -> str:
    """One thing of a list in one line: the facts of a problem or of a failed job."""
    if not isinstance(item, dict):
        return str(item)
    texts = (", ".join(value) if isinstance(value, list) else str(value) for value in item.values())
    return ": ".join(text for text in texts if text)


def _bars(*, show: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not show)
