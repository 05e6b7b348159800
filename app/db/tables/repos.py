"""Repositories and their git history: refs, commits, trees.

Ids are true git SHA-1s. Trees are stored as git stores them, one row set per directory and shared
between commits of a repository, so history costs what changed and not what exists.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Repo(Table):
    """A model, dataset or space."""

    __tablename__ = "repo"
    __table_args__ = (
        CheckConstraint("type IN ('model', 'dataset', 'space')", name="type"),
        CheckConstraint("gated IN ('auto', 'manual')", name="gated"),
        Index("ix_repo_namespace", "namespace_id", "type", "private", "updated_at", "id"),
        # One per order of listing: what is public, and what is not, is walked on its own.
        Index("ix_repo_updated", "type", "private", "updated_at", "id"),
        Index("ix_repo_created", "type", "private", "created_at", "id"),
        Index("ix_repo_downloads", "type", "private", "downloads", "id"),
        Index("ix_repo_likes", "type", "private", "likes", "id"),
        Index("ix_repo_gated", "gated", "type"),
        Index("ix_repo_creator", "creator_id"),
    )

    id: Mapped[PrimaryKey]
    type: Mapped[str] = mapped_column(String(8))
    namespace_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(96))
    """Without the namespace."""
    key: Mapped[str] = mapped_column(String(208), unique=True)
    """``{type}/{namespace}/{name}`` in lower case."""
    private: Mapped[bool] = mapped_column(default=False)
    gated: Mapped[str | None] = mapped_column(String(8))
    """auto | manual: files are for members and for who was let in; null: for whoever sees it."""
    creator_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    """Who made it: what contributors of an organisation may write to. Null after they left."""
    downloads: Mapped[int] = mapped_column(default=0)
    likes: Mapped[int] = mapped_column(default=0)
    """How many rows ``repo_like`` has for it."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    """Time of the last commit to the default branch or change of settings."""


class FormerName(Table):
    """A name that a repo had before it was moved; leads to it until somebody takes the name."""

    __tablename__ = "former_name"

    key: Mapped[str] = mapped_column(String(208), primary_key=True)
    """As ``Repo.key``."""
    repo_id: Mapped[int] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"), index=True)


class Ref(Table):
    """A branch or tag: a movable name for a commit."""

    __tablename__ = "ref"
    __table_args__ = (
        ForeignKeyConstraint(["repo_id", "commit_oid"], ["commit.repo_id", "commit.oid"]),
    )

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    """Full name, e.g. ``refs/heads/main``."""
    commit_oid: Mapped[str] = mapped_column(String(40))
    tag_body: Mapped[bytes | None]
    """The git tag object of an annotated tag, which names the commit; null for all other refs."""


class CutHistory(Table):
    """Commits of this repo may have lost their last ref: they are dropped after a grace period."""

    __tablename__ = "cut_history"

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    cut_at: Mapped[datetime] = mapped_column(index=True)
    """The latest cut."""


class Commit(Table):
    """An immutable snapshot."""

    __tablename__ = "commit"
    __table_args__ = (
        ForeignKeyConstraint(["repo_id", "tree_oid"], ["tree.repo_id", "tree.oid"]),
        Index("ix_commit_generation", "repo_id", "generation"),
    )

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    oid: Mapped[str] = mapped_column(String(40), primary_key=True)
    tree_oid: Mapped[str] = mapped_column(String(40))
    parent_oid: Mapped[str | None] = mapped_column(String(40))
    """First parent; null for the initial commit."""
    body: Mapped[bytes]
    """The git commit object without its ``commit <n>\\0`` head: hashing it gives ``oid``."""
    title: Mapped[str]
    """First line of the message."""
    message: Mapped[str]
    """The rest of the message, possibly empty."""
    author_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    """Null when the account was removed or the commit came in by git."""
    author_name: Mapped[str] = mapped_column(String(256))
    request_digest: Mapped[bytes | None]
    """SHA-256 of (author, ref, payload): a retried request finds its own commit by it."""
    created_at: Mapped[datetime]
    dated_at: Mapped[datetime]
    """The latest of ``created_at`` and its parents' ``dated_at``: clocks go back, logs must not."""
    generation: Mapped[int]
    """1 without parents, else one more than the greatest of its parents."""


class Tree(Table):
    """A directory."""

    __tablename__ = "tree"

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    oid: Mapped[str] = mapped_column(String(40), primary_key=True)


class TreeEntry(Table):
    """One name in a directory."""

    __tablename__ = "tree_entry"
    __table_args__ = (
        ForeignKeyConstraint(
            ["repo_id", "tree_oid"], ["tree.repo_id", "tree.oid"], ondelete="CASCADE"
        ),
        Index("ix_tree_entry_file", "file_id", "repo_id"),
        Index("ix_tree_entry_oid", "repo_id", "oid"),
    )

    repo_id: Mapped[int] = mapped_column(primary_key=True)
    tree_oid: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    mode: Mapped[str] = mapped_column(String(6))
    """Git mode: 40000 directory, 100644 file, 100755 executable, 120000 link."""
    oid: Mapped[str] = mapped_column(String(40))
    """Git id of the subtree or blob (of the pointer, for an LFS file)."""
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id", ondelete="RESTRICT"))
    """Null for directories. RESTRICT is the database's own veto against losing a file."""
    size: Mapped[int] = mapped_column(default=0)
    """Logical bytes of the file (not of its pointer); 0 for directories."""
    is_lfs: Mapped[bool] = mapped_column(default=False)
