"""What people other than its owners have to do with a repo: access they asked for, and likes."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class AccessRequest(Table):
    """Whether a user may read the files of a gated repo."""

    __tablename__ = "access_request"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'accepted', 'rejected')", name="status"),
        UniqueConstraint("repo_id", "account_id"),
        Index("ix_access_request_account", "account_id"),
    )

    id: Mapped[PrimaryKey]
    repo_id: Mapped[int] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(8))
    asked: Mapped[bool]
    """False if it was granted unasked: the owners are told no address then."""
    rejection_reason: Mapped[str | None] = mapped_column(String(200))
    """Null unless rejected with one."""
    changed_at: Mapped[datetime]


class RepoLike(Table):
    """A user likes a repo."""

    __tablename__ = "repo_like"
    __table_args__ = (Index("ix_repo_like_account", "account_id", "repo_id"),)

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[datetime]
