"""The outbox: work owed, written in the transaction that caused it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Job(Table):
    """A piece of background work. At-least-once: handlers are idempotent and resumable."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name="state"),
        Index("ix_job_claim", "state", "priority", "id"),
        Index("ix_job_key", "key", "state"),
    )

    id: Mapped[PrimaryKey]
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(128))
    """What the job is about; a queued job with the same (kind, key) is not queued twice."""
    payload: Mapped[str]
    """JSON object of ids."""
    state: Mapped[str] = mapped_column(String(8), default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    """Lower runs first."""
    attempts: Mapped[int] = mapped_column(default=0)
    run_after: Mapped[datetime]
    """Not claimed before this (back-off after a failure)."""
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    """The runner's id while running; also the fence: progress and completion require it."""
    lease_until: Mapped[datetime | None]
    """A running job past this may be claimed by another runner."""
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    """Bytes of work; 0 until known."""
    error: Mapped[str | None]
    """Message of the last failed attempt."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
