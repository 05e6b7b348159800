"""Background work, as far as it concerns the caller; all of it for administrators."""

import json
from collections.abc import Collection, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import readable_file_clause, readable_repos_clause
from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep
from app.db.tables import File, Job, Repo
from app.hub import Hub
from app.jobs.listing import count_jobs, list_jobs, summary
from app.signing import tag

router = APIRouter(tags=["service"])

KINDS_OF_ONE = frozenset({"encode", "index", "scan"})
"""Jobs that look at nothing but what they are about. How long others take, and how much they read,
tells of relatives that may be somebody's secret."""

SCANNED = 500
"""Newest jobs among which those that concern a caller are looked for."""


@router.get("/api/clade/jobs")
def jobs(
    hub: HubDep,
    caller: Caller,
    state: Literal["queued", "running", "done", "failed"] | None = None,
    limit: int = Query(50, ge=1, le=200),
) -> dict[str, Any]:
    """How many jobs are in each state, and the newest; only such as the caller may know of.

    Administrators see all; others, of the newest, those about files and repositories that they may
    read; without credentials there is nothing. What others do must not show, not even as a count.
    """
    with hub.db.read() as session:
        if caller is not None and caller.is_admin:
            counts = summary(session)
            rows = list_jobs(session, state=state, limit=limit)
        else:
            newest = list_jobs(session, limit=SCANNED) if caller is not None else []
            seen = [] if caller is None else _concerning(session, caller, newest)
            counts = count_jobs(seen)
            rows = [row for row in seen if state in {None, row.state}][:limit]
    return {
        "queued": counts.queued,
        "running": counts.running,
        "done": counts.done,
        "failed": counts.failed,
        "oldest_queued_at": counts.oldest_queued_at and wire_date(counts.oldest_queued_at),
        "jobs": [_job(hub, row, whole=caller is not None and caller.is_admin) for row in rows],
    }


def _concerning(session: Session, caller: Principal, rows: Sequence[Job]) -> list[Job]:
    rows = [row for row in rows if row.kind in KINDS_OF_ONE]
    files, repos = _ids(rows, "file_id"), _ids(rows, "repo_id")
    seen_files = set(
        session.scalars(
            select(File.id).where(File.id.in_(set(files.values())), readable_file_clause(caller))
        )
    )
    seen_repos = set(
        session.scalars(
            select(Repo.id).where(Repo.id.in_(set(repos.values())), readable_repos_clause(caller))
        )
    )
    return [row for row in rows if _seen(row, files, seen_files) or _seen(row, repos, seen_repos)]


def _ids(rows: Sequence[Job], name: str) -> dict[int, int]:
    payloads = ((row.id, json.loads(row.payload)) for row in rows)
    return {job: int(payload[name]) for job, payload in payloads if name in payload}


def _seen(row: Job, ids: dict[int, int], seen: Collection[int]) -> bool:
    return row.id in ids and ids[row.id] in seen


def _job(hub: Hub, row: Job, *, whole: bool) -> dict[str, Any]:
    return {
        # A count of all jobs of the hub: to others its gaps would tell what it does for whom.
        "id": row.id if whole else tag(hub.secret, "job", str(row.id)),
        "kind": row.kind,
        "key": row.key,
        "state": row.state,
        "attempts": row.attempts,
        "progress": {"done": row.progress_done, "total": row.progress_total},
        "error": row.error if whole else None,
        "created_at": wire_date(row.created_at),
        "finished_at": row.finished_at and wire_date(row.finished_at),
    }
