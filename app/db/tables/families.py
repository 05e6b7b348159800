"""Families: repositories that share a base, as measured and as declared."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Family(Table):
    """Repositories whose weights derive from one another."""

    __tablename__ = "family"

    id: Mapped[PrimaryKey]
    root_repo_id: Mapped[int | None] = mapped_column(ForeignKey("repo.id", ondelete="SET NULL"))
    """The member that others are stored against; null after it was deleted."""
    created_at: Mapped[datetime]


class FamilyMember(Table):
    """A repository's place in its family."""

    __tablename__ = "family_member"
    __table_args__ = (
        Index("ix_family_member_family", "family_id"),
        Index("ix_family_member_signature", "signature"),
    )

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    family_id: Mapped[int] = mapped_column(ForeignKey("family.id", ondelete="CASCADE"))
    signature: Mapped[str] = mapped_column(String(64))
    """Architecture signature: digest of tensor names and shapes, see ``app.families.signature``."""
    declared_base: Mapped[str | None] = mapped_column(String(208))
    """``base_model`` as the card says it, whether or not it exists here."""
    declared_relation: Mapped[str | None] = mapped_column(String(16))
    """finetune | adapter | merge | quantized, as the card says."""
    measured_parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("repo.id", ondelete="SET NULL"), index=True
    )
    """The repository most of whose tensors serve as bases or duplicates; null for a root."""
    bit_distance: Mapped[float | None]
    """Mean differing bits per element to the measured parent; null for a root."""
    measured_at: Mapped[datetime]
