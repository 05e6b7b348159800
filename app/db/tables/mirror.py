"""What a mirrored repo is a copy of, and big files of its trees whose bytes are not here yet."""

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import BigKey, Table


class MirroredRepo(Table):
    """A repo that is a copy of one on the upstream. It is written to by the mirror alone."""

    __tablename__ = "mirrored_repo"

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str]
    """Of its page on the upstream."""
    etag: Mapped[str | None]
    """Of the upstream's answer about it, to ask conditionally; null if it gives none."""
    restricted: Mapped[bool] = mapped_column(default=False)
    """Whether the upstream shows it, or its files, to some only."""
    checked_at: Mapped[datetime | None]
    """When the upstream last told how it is; null before the first time."""


class MirroredOrg(Table):
    """An organisation that the mirror made, so that mirrored repos have the owner's name."""

    __tablename__ = "mirrored_org"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )


class AwaitedFile(Table):
    """A big file that trees of a mirrored repo name by its pointer and whose bytes are not here.

    Tree entries of an awaited file have no ``file_id``. The row goes when they get one.
    """

    __tablename__ = "awaited_file"
    __table_args__ = (Index("ix_awaited_file_sha256", "repo_id", "sha256"),)

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    oid: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Git id of the pointer."""
    sha256: Mapped[bytes]
    """As the pointer says; the bytes must have it before anybody gets the last of them."""
    nbytes: Mapped[int]
    fault: Mapped[str | None]
    """Why fetching it failed last; null if it did not."""
    fault_kind: Mapped[str | None] = mapped_column(String(16))
    """Which error of ``app.errors`` that is."""
    fault_at: Mapped[datetime | None]
    verified: Mapped[bool] = mapped_column(default=False)
    """Whether all parts are here and together have the SHA-256."""
    touched_at: Mapped[datetime]
    """When bytes of it last came."""


class AwaitedPart(Table):
    """Bytes of an awaited file that have come: an object of their own until the file is whole."""

    __tablename__ = "awaited_part"
    __table_args__ = (
        ForeignKeyConstraint(
            ["repo_id", "oid"], ["awaited_file.repo_id", "awaited_file.oid"], ondelete="CASCADE"
        ),
        Index("ix_awaited_part_object", "object_id"),
    )

    repo_id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    oid: Mapped[str] = mapped_column(String(40), primary_key=True)
    start: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    """Offset in the file."""
    nbytes: Mapped[int]
    digest: Mapped[bytes]
    """BLAKE3 of the bytes as they came."""
    checks: Mapped[bytes]
    """Of their pieces, see ``app.digest``."""
    object_id: Mapped[int] = mapped_column(ForeignKey("object.id", ondelete="RESTRICT"))


class AwaitedRange(Table):
    """Bytes ``[start, stop)`` of an awaited file that somebody reads, until the fetch knows."""

    __tablename__ = "awaited_range"
    __table_args__ = (
        ForeignKeyConstraint(
            ["repo_id", "oid"], ["awaited_file.repo_id", "awaited_file.oid"], ondelete="CASCADE"
        ),
    )

    repo_id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    oid: Mapped[str] = mapped_column(String(40), primary_key=True)
    start: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    stop: Mapped[int]
