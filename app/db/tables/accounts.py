"""Users, organisations and their tokens."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import PrimaryKey, Table


class Account(Table):
    """A user or an organisation: whatever may own repositories."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("kind IN ('user', 'org')", name="kind"),
        CheckConstraint("dedup IN ('namespace', 'hub')", name="dedup"),
    )

    id: Mapped[PrimaryKey]
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(96))
    """As written by its creator; looked up by ``key``."""
    key: Mapped[str] = mapped_column(String(96), unique=True)
    """``name`` in lower case: names resolve case-insensitively."""
    fullname: Mapped[str] = mapped_column(String(256), default="")
    email: Mapped[str | None] = mapped_column(String(320))
    """Null for organisations and for users seeded without one."""
    is_admin: Mapped[bool] = mapped_column(default=False)
    private_by_default: Mapped[bool] = mapped_column(default=False)
    """Whether repositories made under this name are private unless their maker says otherwise."""
    dedup: Mapped[str | None] = mapped_column(String(12))
    """namespace | hub, see ``app.accounts.domains``; null: as the hub has it."""
    created_at: Mapped[datetime]


class Membership(Table):
    """A user's role in an organisation."""

    __tablename__ = "membership"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'write', 'contributor', 'read')", name="role"),
    )

    org_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(12))
    """admin: members, too. write: all repos. contributor: the repos they made. read: reads all."""


class AccessToken(Table):
    """A token; only its SHA-256 is stored, so a stolen database opens nothing."""

    __tablename__ = "access_token"
    __table_args__ = (
        CheckConstraint("role IN ('read', 'write', 'fineGrained')", name="role"),
        Index("ix_access_token_account", "account_id"),
    )

    id: Mapped[PrimaryKey]
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the token's UTF-8 bytes."""
    name: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(12))
    """read | write: what its user may; fineGrained: what its scopes say, and no more than that."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """Null for a token that lasts until it is revoked."""
    revoked_at: Mapped[datetime | None]
    """Null while the token is valid."""


class TokenScope(Table):
    """Something that a fine-grained token opens: a namespace or a single repository."""

    __tablename__ = "token_scope"
    __table_args__ = (
        CheckConstraint("(account_id IS NULL) <> (repo_id IS NULL)", name="entity"),
        Index("ix_token_scope_token", "token_id"),
        Index("ix_token_scope_account", "account_id"),
        Index("ix_token_scope_repo", "repo_id"),
    )

    id: Mapped[PrimaryKey]
    token_id: Mapped[int] = mapped_column(ForeignKey("access_token.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    repo_id: Mapped[int | None] = mapped_column(ForeignKey("repo.id", ondelete="CASCADE"))
    writes: Mapped[bool] = mapped_column(default=False)
