"""Finished jobs are remembered for a while, then forgotten, so that the outbox stays small."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.tables import Job
from app.hub import Hub

BATCH = 1000
"""Rows deleted per transaction: none holds its locks for long."""


def prune_finished(hub: Hub) -> int:
    """Forget jobs that were done longer ago than ``jobs.finished_kept_s``; returns how many.

    Failed jobs stay until somebody has looked at them. Idempotent; any number may run at once.
    """
    before = hub.clock.now() - timedelta(seconds=hub.settings.jobs.finished_kept_s)

    def work(session: Session) -> int:
        old = (
            select(Job.id)
            .where(Job.state == "done", Job.finished_at < before)
            .order_by(Job.id)
            .limit(BATCH)
        )
        ids = list(session.scalars(old))
        session.execute(delete(Job).where(Job.id.in_(ids), Job.state == "done"))
        return len(ids)

    total = 0
    while pruned := hub.db.run(work):
        total += pruned
    return total
