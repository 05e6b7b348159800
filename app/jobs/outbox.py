"""Queue work in the transaction that causes it, so that one never exists without the other."""

import json
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import after_commit
from app.db.tables import Job
from app.hub import Hub

_QUEUED = "queued_jobs"


def enqueue(
    session: Session,
    hub: Hub,
    kind: str,
    *,
    key: str,
    payload: dict[str, int | str],
    priority: int = 0,
    run_after: datetime | None = None,
) -> None:
    """Owe a job; runners hear of it once the transaction commits, never if it rolls back.

    A job of the same ``(kind, key)`` that is still queued serves for this one too. It is locked, so
    that no runner starts it before this transaction's changes can be seen; if somebody else has it
    locked, a second job is queued: never lost, now and then done twice. ``run_after``: not before.
    """
    waiting = session.scalars(
        select(Job)
        .where(Job.kind == kind, Job.key == key, Job.state == "queued")
        .order_by(Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if waiting is not None:
        waiting.priority = min(waiting.priority, priority)
        return
    now = hub.clock.now()
    job = Job(
        kind=kind,
        key=key,
        payload=json.dumps(payload, sort_keys=True),
        priority=priority,
        run_after=max(now, run_after or now),
        created_at=now,
    )
    session.add(job)
    queued: list[Job] | None = session.info.get(_QUEUED)
    if queued is not None:
        queued.append(job)
        return
    session.info[_QUEUED] = queued = [job]
    after_commit(session, lambda: hub.notify_jobs([job.id for job in queued]))
