"""Look at the queue: for people, dashboards and metrics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Job


@dataclass(frozen=True, slots=True)
class JobSummary:
    """Jobs by state."""

    queued: int
    running: int
    done: int
    failed: int
    oldest_queued_at: datetime | None
    """Null if nothing is queued."""

    @property
    def unfinished(self) -> int:
        """Jobs that are still owed."""
        return self.queued + self.running


def list_jobs(
    session: Session, *, state: str | None = None, limit: int = 50, before: int | None = None
) -> Sequence[Job]:
    """Jobs, newest first; ``before`` is the last id of the previous page."""
    statement = select(Job).order_by(Job.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(Job.state == state)
    if before is not None:
        statement = statement.where(Job.id < before)
    return session.scalars(statement).all()


def count_jobs(jobs: Sequence[Job]) -> JobSummary:
    """How many of these jobs are in each state."""
    counts = Counter(job.state for job in jobs)
    queued = [job.created_at for job in jobs if job.state == "queued"]
    return JobSummary(
        queued=counts["queued"],
        running=counts["running"],
        done=counts["done"],
        failed=counts["failed"],
        oldest_queued_at=min(queued, default=None),
    )


def summary(session: Session) -> JobSummary:
    """How many jobs there are in each state."""
    by_state = select(Job.state, func.count()).group_by(Job.state)
    counts = {state: int(count) for state, count in session.execute(by_state)}
    oldest = session.scalar(select(func.min(Job.created_at)).where(Job.state == "queued"))
    return JobSummary(
        queued=counts.get("queued", 0),
        running=counts.get("running", 0),
        done=counts.get("done", 0),
        failed=counts.get("failed", 0),
        oldest_queued_at=oldest,
    )
