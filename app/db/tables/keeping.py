"""The state of stored bytes as far as known, where walks over them stand, who needs them all."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Finding(Table):
    """Something is not as it should be; the row goes when it is, or when what it is about goes."""

    __tablename__ = "finding"
    __table_args__ = (
        UniqueConstraint("kind", "subject"),
        Index("ix_finding_file", "file_id"),
        Index("ix_finding_content", "content_id"),
        Index("ix_finding_object", "object_id"),
    )

    id: Mapped[PrimaryKey]
    kind: Mapped[str] = mapped_column(String(24))
    """See ``app.contents.findings.KINDS``."""
    subject: Mapped[str] = mapped_column(String(160))
    """What it is about: file:<id>, content:<id>, object:<key>."""
    detail: Mapped[str]
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id", ondelete="CASCADE"))
    content_id: Mapped[int | None] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"))
    object_id: Mapped[int | None] = mapped_column(ForeignKey("object.id", ondelete="CASCADE"))
    found_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When it was last found to be so."""


class Bookmark(Table):
    """Where a walk over the whole hub stands, so that it goes on there."""

    __tablename__ = "bookmark"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]
    """JSON object; its owner knows the fields."""
    updated_at: Mapped[datetime]


class Hold(Table):
    """While it is in force no bytes leave the store: a backup is copying them."""

    __tablename__ = "hold"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime]


class Rejection(Table):
    """A regrouping that was coded and did not pay, see ``app.deltas.rejections``."""

    __tablename__ = "rejection"
    __table_args__ = (
        Index("ix_rejection_content", "content_id"),
        Index("ix_rejection_found", "found_at"),
    )

    key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """BLAKE3 of all that the outcome depends on."""
    content_id: Mapped[int] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"))
    """One of those that would have moved."""
    saving_nbytes: Mapped[int]
    was_nbytes: Mapped[int]
    found_at: Mapped[datetime]
