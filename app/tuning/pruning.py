"""Checkpoints of jobs that ended a while ago go; their bytes with the next collections."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import TuningCheckpoint, TuningJob
from app.jobs.context import JobContext
from app.tuning.results import drop_checkpoint
from app.tuning.states import FINAL

JOB = "tuning"
KEPT = timedelta(days=7)
BATCH = 100


def prune_checkpoints(context: JobContext) -> None:
    """Drop those of jobs that were over :data:`KEPT` ago. Idempotent."""
    hub = context.hub
    before = hub.clock.now() - KEPT

    def work(session: Session) -> int:
        old = session.scalars(
            select(TuningCheckpoint)
            .join(TuningJob, TuningJob.id == TuningCheckpoint.job_id)
            .where(TuningJob.status.in_(FINAL), TuningJob.finished_at < before)
            .limit(BATCH)
            .with_for_update(of=TuningCheckpoint, skip_locked=True)
        ).all()
        for each in old:
            drop_checkpoint(session, each)
        return len(old)

    while hub.db.run(work):
        context.check()
