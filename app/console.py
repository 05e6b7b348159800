"""What the command line prints: facts as plain dictionaries, and their rendering for people."""

import time
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from app.gc.collect import collect
from app.gc.fsck import fsck
from app.hub import Hub
from app.jobs.listing import list_jobs, summary
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
    """Watch the queue; with ``until_done`` also work on it and return once it is empty.

    Working on it is safe beside running servers and workers: jobs are claimed by lease.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        bars: dict[int, Any] = {}
        while True:
            worked = until_done and run_one(hub, HANDLERS, process_name())
            with hub.db.read() as session:
                counts = summary(session)
                running = list_jobs(session, state="running", limit=20)
            for row in running:
                if row.id not in bars:
                    bars[row.id] = progress.add_task(f"{row.kind} {row.key}", total=None)
                progress.update(
                    bars[row.id], completed=row.progress_done, total=row.progress_total or None
                )
            for finished in bars.keys() - {row.id for row in running}:
                progress.remove_task(bars.pop(finished))
            if until_done and counts.unfinished == 0:
                return
            if not worked:
                time.sleep(POLL_S)


def stats_facts(hub: Hub) -> dict[str, Any]:
    """The byte accounting of the whole hub."""
    return asdict(measure(hub))


def fsck_facts(hub: Hub, *, deep: bool) -> tuple[dict[str, Any], bool]:
    """What the check found, and whether all is well."""
    report = fsck(hub, deep=deep)
    return asdict(report) | {"clean": report.clean}, report.clean


def gc_facts(hub: Hub, *, now: bool) -> dict[str, Any]:
    """What one collection did."""
    return asdict(collect(hub, now=now))


def show(facts: dict[str, Any]) -> None:
    """Print facts as an aligned two-column table, nested ones indented."""
    table = RichTable(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    _rows(table, facts, indent="")
    Console().print(table)


def _rows(table: RichTable, facts: dict[str, Any], indent: str) -> None:
    for name, value in facts.items():
        label = indent + name.replace("_", " ")
        if isinstance(value, dict):
            table.add_row(label, "")
            _rows(table, value, indent + "  ")
        elif isinstance(value, list):
            table.add_row(label, "" if value else "none")
            for item in value:
                table.add_row(f"{indent}  {item}", "")
        elif isinstance(value, int) and not isinstance(value, bool):
            table.add_row(label, f"{value:,}")
        else:
            table.add_row(label, str(value))
