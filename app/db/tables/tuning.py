"""Fine-tuning: files to train on, jobs, what they said on their way, and who trains them now."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import BigKey, PrimaryKey, Table


class TuningFile(Table):
    """A file of ``/v1/files``. Its bytes are granted to the owner's shelf, and counted there."""

    __tablename__ = "tuning_file"
    __table_args__ = (
        Index("ix_tuning_file_owner", "owner_id", "id"),
        Index("ix_tuning_file_repo", "repo_id"),
        Index("ix_tuning_file_file", "file_id"),
    )

    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(String(40), unique=True)
    """``file-…``, at random."""
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    repo_id: Mapped[int] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"))
    """The shelf, see ``app.tuning.shelf``."""
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id", ondelete="RESTRICT"))
    filename: Mapped[str] = mapped_column(String(255))
    """As the client called it."""
    purpose: Mapped[str] = mapped_column(String(24))
    """fine-tune | fine-tune-results"""
    nbytes: Mapped[int]
    created_at: Mapped[datetime]


class TuningJob(Table):
    """A fine-tuning job, as a state machine: see ``app.tuning.states``."""

    __tablename__ = "tuning_job"
    __table_args__ = (
        CheckConstraint(
            "status IN ('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed',"
            " 'cancelled')",
            name="status",
        ),
        CheckConstraint("wanted IN ('run', 'pause')", name="wanted"),
        UniqueConstraint("owner_id", "request_key"),
        Index("ix_tuning_job_owner", "owner_id", "id"),
        Index("ix_tuning_job_status", "status", "id"),
        Index("ix_tuning_job_base", "base_repo_id"),
        Index("ix_tuning_job_training", "training_file_id"),
        Index("ix_tuning_job_validation", "validation_file_id"),
        Index("ix_tuning_job_result", "result_file_id"),
    )

    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(String(40), unique=True)
    """``ftjob-…``, at random."""
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    base: Mapped[str] = mapped_column(String(208))
    """``namespace/name`` as it was when the job was made."""
    base_repo_id: Mapped[int | None] = mapped_column(ForeignKey("repo.id", ondelete="SET NULL"))
    """Null once the base was deleted."""
    commit: Mapped[str] = mapped_column(String(40))
    """Of the base: what its branch pointed to when the job was made."""
    target: Mapped[str] = mapped_column(String(208))
    """``namespace/name`` that the result becomes a commit of."""
    is_full: Mapped[bool]
    """Whether it trains the whole model and so needs a process to itself."""
    training_file_id: Mapped[int | None] = mapped_column(
        ForeignKey("tuning_file.id", ondelete="SET NULL")
    )
    validation_file_id: Mapped[int | None] = mapped_column(
        ForeignKey("tuning_file.id", ondelete="SET NULL")
    )
    result_file_id: Mapped[int | None] = mapped_column(
        ForeignKey("tuning_file.id", ondelete="SET NULL")
    )
    request: Mapped[str]
    """JSON: what was asked for, with every default filled in."""
    request_key: Mapped[str | None] = mapped_column(String(255))
    """The client's Idempotency-Key: the same again is the same job."""
    status: Mapped[str] = mapped_column(String(16), default="validating_files")
    is_valid: Mapped[bool] = mapped_column(default=False)
    """Whether its files were looked at and are fit to train on."""
    wanted: Mapped[str] = mapped_column(String(8), default="run")
    """run | pause: what its owner wants of whoever trains it."""
    steps: Mapped[int] = mapped_column(default=0)
    """Steps told of so far; a step that is done again after a crash is not told of twice."""
    total_steps: Mapped[int] = mapped_column(default=0)
    """0 until known."""
    trained_tokens: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    """JSON of code, message and param."""
    result: Mapped[str | None]
    """JSON: what was published, where, and in how many bytes."""
    created_at: Mapped[datetime]
    running_at: Mapped[datetime | None]
    """When it began to take steps, the last time; ``begun_at`` of them were told of by then."""
    begun_at: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None]


class TuningLease(Table):
    """Who trains a job. One row per job, made with it, and locked by all that change the job."""

    __tablename__ = "tuning_lease"
    __table_args__ = (Index("ix_tuning_lease_until", "until"),)

    job_id: Mapped[int] = mapped_column(
        ForeignKey("tuning_job.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    fence: Mapped[int] = mapped_column(default=0)
    """Grows with every claim, and with what ends one; all that a trainer writes must carry it."""
    holder: Mapped[str | None] = mapped_column(String(64))
    """The trainer process; null while nobody has the job."""
    until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """Claims in a row whose holder was lost."""
    beat: Mapped[int] = mapped_column(default=0)
    """Of the last report taken, by the holder's count: one that comes twice counts once."""
    token_id: Mapped[int | None] = mapped_column(BigKey)
    """Access token that the holder acts with; revoked with the claim. No foreign key: it may go."""


class TuningEvent(Table):
    """Something a job said."""

    __tablename__ = "tuning_event"
    __table_args__ = (
        CheckConstraint("level IN ('info', 'warn', 'error')", name="level"),
        CheckConstraint("type IN ('message', 'metrics')", name="type"),
    )

    job_id: Mapped[int] = mapped_column(
        ForeignKey("tuning_job.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    """Within the job, from 1 on."""
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(8))
    message: Mapped[str]
    data: Mapped[str | None]
    """JSON object."""


class TuningCheckpoint(Table):
    """A state that a job goes on from, as a file of the shelf."""

    __tablename__ = "tuning_checkpoint"
    __table_args__ = (
        UniqueConstraint("job_id", "step"),
        Index("ix_tuning_checkpoint_file", "file_id"),
    )

    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(String(40), unique=True)
    """``ftckpt-…``, at random."""
    job_id: Mapped[int] = mapped_column(ForeignKey("tuning_job.id", ondelete="CASCADE"))
    step: Mapped[int]
    """Steps taken."""
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id", ondelete="RESTRICT"))
    nbytes: Mapped[int]
    metrics: Mapped[str]
    """JSON: losses at this step."""
    created_at: Mapped[datetime]
