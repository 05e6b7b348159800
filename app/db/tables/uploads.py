"""Uploads in flight: LFS multipart sessions, and Xet xorbs with the files they became."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import BigKey, PrimaryKey, Table


class LfsUpload(Table):
    """A multipart LFS upload that was begun."""

    __tablename__ = "lfs_upload"
    __table_args__ = (Index("ix_lfs_upload_expires", "expires_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """UUID; part of the capability URL."""
    repo_id: Mapped[int] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    sha256: Mapped[bytes]
    size: Mapped[int]
    part_nbytes: Mapped[int]
    expires_at: Mapped[datetime]


class LfsPart(Table):
    """A part that has arrived."""

    __tablename__ = "lfs_part"

    upload_id: Mapped[str] = mapped_column(
        ForeignKey("lfs_upload.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    """Counted from 1."""
    object_id: Mapped[int] = mapped_column(ForeignKey("object.id", ondelete="RESTRICT"))
    etag: Mapped[str] = mapped_column(String(64))
    """BLAKE3 of the bytes as they came."""
    checks: Mapped[bytes]
    """Of their pieces, see ``app.digest``."""
    nbytes: Mapped[int]


class Xorb(Table):
    """A xorb that an account uploaded: chunks waiting to be named by a shard.

    One row per (hash, account): naming a xorb is only allowed to who sent its bytes.
    """

    __tablename__ = "xorb"
    __table_args__ = (
        UniqueConstraint("digest", "account_id"),
        Index("ix_xorb_object", "object_id"),
    )

    id: Mapped[PrimaryKey]
    digest: Mapped[bytes]
    """32 bytes in wire order."""
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    object_id: Mapped[int | None] = mapped_column(ForeignKey("object.id", ondelete="RESTRICT"))
    """Null once the xorb's bytes were dropped because files hold all its chunks."""
    chunks: Mapped[bytes]
    """Per chunk: 32-byte hash, u32 offset of its header in the xorb, u32 raw length (LE)."""
    created_at: Mapped[datetime]


class XorbTerm(Table):
    """Where chunks of a xorb live on inside a file, so that clients may name them again."""

    __tablename__ = "xorb_term"
    __table_args__ = (Index("ix_xorb_term_xorb", "xorb_id"), Index("ix_xorb_term_file", "file_id"))

    id: Mapped[PrimaryKey]
    xorb_id: Mapped[int] = mapped_column(ForeignKey("xorb.id", ondelete="CASCADE"))
    chunk_start: Mapped[int]
    chunk_stop: Mapped[int]
    file_id: Mapped[int] = mapped_column(ForeignKey("file.id", ondelete="CASCADE"))
    file_start: Mapped[int]
    """Offset in the file of the first byte of ``chunk_start``."""
