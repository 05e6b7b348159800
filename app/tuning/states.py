"""What becomes of a job: OpenAI's six statuses and ``paused``, and which may follow which."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import TuningEvent, TuningJob
from app.errors import InvalidRequest
from app.hub import Hub

Status = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
Level = Literal["info", "warn", "error"]

MOVES: Mapping[str, frozenset[Status]] = {
    "validating_files": frozenset({"queued", "paused", "failed", "cancelled"}),
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"queued", "paused", "succeeded", "failed", "cancelled"}),
    "paused": frozenset({"validating_files", "queued", "failed", "cancelled"}),
}
"""A running job is queued again when whoever trained it is gone. What is not here is final."""

FINAL = frozenset({"succeeded", "failed", "cancelled"})


def move(hub: Hub, job: TuningJob, to: Status) -> None:
    """Give a locked job another status. Raises InvalidRequest if it cannot have it any more."""
    if to not in MOVES.get(job.status, frozenset()):
        raise InvalidRequest(f"{job.name} is {job.status} and cannot be {to}")
    job.status = to
    now = hub.clock.now()
    if to == "running":
        job.running_at, job.begun_at = now, job.steps
    if to in FINAL:
        job.finished_at = now


def fail(
    session: Session, hub: Hub, job: TuningJob, code: str, message: str, param: str | None = None
) -> None:
    """The job failed for this reason, which its owner is told."""
    move(hub, job, "failed")
    job.error = json.dumps({"code": code, "message": message, "param": param})
    tell(session, hub, job, message, level="error")


def tell(
    session: Session,
    hub: Hub,
    job: TuningJob,
    message: str,
    *,
    level: Level = "info",
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Add an event to a locked job; with ``metrics`` it is one of that type."""
    last = select(func.max(TuningEvent.number)).where(TuningEvent.job_id == job.id)
    session.add(
        TuningEvent(
            job_id=job.id,
            number=(session.scalar(last) or 0) + 1,
            at=hub.clock.now(),
            level=level,
            type="message" if metrics is None else "metrics",
            message=message,
            data=None if metrics is None else json.dumps(metrics),
        )
    )
    session.flush()
