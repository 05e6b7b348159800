"""Discussions and pull requests of a repo, and what happened in each."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Discussion(Table):
    """A thread about a repo; with a target branch it is a pull request, whose ref is its own."""

    __tablename__ = "discussion"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'open', 'closed', 'merged')", name="status"),
        Index("ix_discussion_author", "author_id"),
    )

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1 on; discussions and pull requests of a repo share the count."""
    title: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(8))
    """Drafts and merged ones are pull requests."""
    target: Mapped[str | None] = mapped_column(String(255))
    """Full name of the branch that a pull request is to change; null for a plain discussion."""
    author_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    merge_oid: Mapped[str | None] = mapped_column(String(40))
    """The commit that a merge made; not a foreign key: history may be cut later."""
    created_at: Mapped[datetime]


class DiscussionEvent(Table):
    """Something that happened in a discussion: said, renamed, committed, closed."""

    __tablename__ = "discussion_event"
    __table_args__ = (
        ForeignKeyConstraint(
            ["repo_id", "number"],
            ["discussion.repo_id", "discussion.number"],
            ondelete="CASCADE",
        ),
        CheckConstraint(
            "type IN ('comment', 'status-change', 'title-change', 'commit')", name="type"
        ),
        Index("ix_discussion_event_thread", "repo_id", "number", "id"),
        Index("ix_discussion_event_author", "author_id"),
    )

    id: Mapped[PrimaryKey]
    repo_id: Mapped[int]
    number: Mapped[int]
    type: Mapped[str] = mapped_column(String(16))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    text: Mapped[str]
    """The comment, the new status or title, the commit's title; empty for a hidden comment."""
    detail: Mapped[str | None]
    """The title before, the commit's id; null for comments and changes of status."""
    edits: Mapped[int] = mapped_column(default=0)
    """How often a comment was changed; what it said before is not kept."""
    hidden: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
