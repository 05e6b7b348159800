"""What listings look repos up by. All of it can be derived from the repos again."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Table


class RepoCard(Table):
    """What the head of the default branch says about a repo, as of one commit."""

    __tablename__ = "repo_card"
    __table_args__ = (Index("ix_repo_card_parameters", "parameter_count"),)

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    commit_oid: Mapped[str] = mapped_column(String(40))
    """The head it was read at; facts of another head are out of date."""
    facts: Mapped[str]
    """JSON object: tags, pipeline_tag, library_name, card_data, config, parameters."""
    parameter_count: Mapped[int | None]
    """Elements of all tensors; null without any."""
    rests_until: Mapped[datetime | None]
    """When the repo may be read again: the longer it took, the later."""


class RepoTag(Table):
    """One tag of a repo, as of its :class:`RepoCard`."""

    __tablename__ = "repo_tag"
    __table_args__ = (
        Index("ix_repo_tag_repo", "repo_id"),
        Index("ix_repo_tag_seen", "type", "seen_by", "kind", "tag"),
        {"sqlite_with_rowid": False},
    )

    type: Mapped[str] = mapped_column(String(8), primary_key=True)
    tag: Mapped[str] = mapped_column(String(256), primary_key=True)
    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(String(24))
    """What the tag is about, as this repo has it: language, license, …, other."""
    seen_by: Mapped[int]
    """The owner whose members alone see the repo; 0: everybody does."""


class NameSuffix(Table):
    """One suffix of a repo's name: looking for a part of the name is one range of these."""

    __tablename__ = "name_suffix"
    __table_args__ = (Index("ix_name_suffix_repo", "repo_id"), {"sqlite_with_rowid": False})

    type: Mapped[str] = mapped_column(String(8), primary_key=True)
    text: Mapped[bytes] = mapped_column(primary_key=True)
    """First bytes of the suffix of ``namespace/name`` in lower case. Bytes, so that no collation
    decides what lies in a range."""
    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
