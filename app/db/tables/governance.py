"""What keeps a hub in order: who did what, how much there may be, and what is dangerous to load."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class AuditEvent(Table):
    """Something that was done. Names are kept as they were: what they named may be gone."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_at", "at"),
        Index("ix_audit_event_actor", "actor", "id"),
        Index("ix_audit_event_target", "target", "id"),
    )

    id: Mapped[PrimaryKey]
    at: Mapped[datetime]
    request_id: Mapped[str | None] = mapped_column(String(200))
    """As in the log and in the answer; null for the command line."""
    address: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[int | None]
    """No foreign key: the log outlives accounts."""
    actor: Mapped[str] = mapped_column(String(96))
    token_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(String(40))
    """What was done, e.g. ``repo.delete``."""
    target: Mapped[str] = mapped_column(String(512))
    """To what, e.g. ``model/alice/m``."""
    detail: Mapped[str] = mapped_column(String(1024))


class Quota(Table):
    """The most that one account, or one repository, may have; what is null is not bounded."""

    __tablename__ = "quota"
    __table_args__ = (
        CheckConstraint("(account_id IS NULL) <> (repo_id IS NULL)", name="target"),
        UniqueConstraint("account_id"),
        UniqueConstraint("repo_id"),
    )

    id: Mapped[PrimaryKey]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    repo_id: Mapped[int | None] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"))
    nbytes: Mapped[int | None]
    """Logical bytes of all versions of all files, each once per repository."""
    files: Mapped[int | None]
    """Versions of files, each once per repository."""
    repos: Mapped[int | None]
    """Of an account."""
    proposed_nbytes: Mapped[int | None]
    """Of an account: bytes that it may have in pull requests to repositories of others."""


class RepoUsage(Table):
    """What a repository holds of what quotas bound, see ``app.accounts.usage``."""

    __tablename__ = "repo_usage"
    __table_args__ = (Index("ix_repo_usage_stale", "stale"),)

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    nbytes: Mapped[int | None]
    """Logical bytes, each version of a file once; null until it is counted."""
    files: Mapped[int | None]
    history_nbytes: Mapped[int | None]
    """Logical bytes of what the trees name, each version of a file once; exact. Null until it is
    counted, as it is again after trees went."""
    stale: Mapped[bool] = mapped_column(default=False)
    """Something went since it was counted: the other figures are at most too high."""


class ProposerUsage(Table):
    """What an account has in pull requests to others, see ``app.accounts.proposing``."""

    __tablename__ = "proposer_usage"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )
    nbytes: Mapped[int | None]
    """Logical bytes; null until they are counted."""
    stale: Mapped[bool] = mapped_column(default=False)
    """Something went since: the figure is at most too high."""


class FileScan(Table):
    """The verdict on a file that frameworks would unpickle."""

    __tablename__ = "file_scan"
    __table_args__ = (
        CheckConstraint(
            "status IN ('safe', 'suspicious', 'unsafe', 'error', 'unscanned')", name="status"
        ),
    )

    file_id: Mapped[int] = mapped_column(
        ForeignKey("file.id", ondelete="CASCADE"), primary_key=True
    )
    status: Mapped[str] = mapped_column(String(12))
    """error: it could not be read to its end; unscanned: it is too long."""
    imports: Mapped[str]
    """JSON list of [module, name, safety]; null for what is no pickle."""
    scanned_at: Mapped[datetime]
