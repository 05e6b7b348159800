"""Access tokens: issued once, stored as SHA-256, authenticated, revoked.

A token carries 256 random bits, so an unsalted digest cannot be reversed, and looking it up by
digest leaks no timing about the secret itself.
"""

import hashlib
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import AccessToken, Account, Membership
from app.errors import Conflict, InvalidRequest, Unauthorized
from app.hub import Hub

TokenRole = Literal["read", "write"]
OrgRole = Literal["admin", "write", "contributor", "read"]

BAD_CREDENTIALS = "Invalid credentials in Authorization header"
"""The clients tell a bad token from a missing repo by exactly these words."""

ALPHABET = string.ascii_letters + string.digits

_MAX_TOKEN_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, as far as one token vouches for it."""

    account_id: int
    name: str
    role: TokenRole
    """A read token never writes, whoever owns it."""
    is_admin: bool
    orgs: Mapping[int, OrgRole]
    """Account id of each organisation -> role in it."""
    fullname: str
    email: str | None
    token_name: str
    token_created_at: datetime

    @property
    def owners(self) -> list[int]:
        """Accounts that its user acts for: his own and his organisations."""
        return [self.account_id, *self.orgs]

    @property
    def namespaces(self) -> list[int]:
        """Accounts whose private repos exist for it: its own and its organisations."""
        return [self.account_id, *self.orgs]


def authenticate(session: Session, token: str) -> Principal:
    """The principal of a token. Raises Unauthorized for an unknown or revoked one."""
    row = session.execute(
        select(AccessToken, Account)
        .join(Account, Account.id == AccessToken.account_id)
        .where(AccessToken.digest == token_digest(token), AccessToken.revoked_at.is_(None))
    ).one_or_none()
    if row is None:
        raise Unauthorized(BAD_CREDENTIALS)
    access, account = row
    memberships = session.execute(
        select(Membership.org_id, Membership.role).where(Membership.user_id == account.id)
    )
    return Principal(
        account_id=account.id,
        name=account.name,
        role=cast("TokenRole", access.role),
        is_admin=account.is_admin,
        orgs={org_id: cast("OrgRole", role) for org_id, role in memberships},
        fullname=account.fullname or account.name,
        email=account.email,
        token_name=access.name,
        token_created_at=access.created_at,
    )


def new_token() -> str:
    """A fresh random token: letters and digits, as llama.cpp sends no others; 256 bits."""
    return "hf_" + "".join(secrets.choice(ALPHABET) for _ in range(43))


def token_digest(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def add_token(
    session: Session,
    hub: Hub,
    account_id: int,
    token: str,
    *,
    name: str = "default",
    role: TokenRole = "write",
) -> AccessToken:
    """Store a token for an account. Raises Conflict if this very token is in use already."""
    if not token or len(token) > _MAX_TOKEN_LENGTH or not token.isprintable() or " " in token:
        raise InvalidRequest("a token is 1 to 512 printable characters without spaces")
    digest = token_digest(token)
    if session.scalar(select(AccessToken.id).where(AccessToken.digest == digest)) is not None:
        raise Conflict("this token is in use already")
    row = AccessToken(
        account_id=account_id, digest=digest, name=name, role=role, created_at=hub.clock.now()
    )
    session.add(row)
    session.flush()
    return row


def revoke_token(session: Session, hub: Hub, token: str) -> None:
    """Refuse a token from now on. Unknown and revoked tokens are no error."""
    row = session.scalar(
        select(AccessToken).where(
            AccessToken.digest == token_digest(token), AccessToken.revoked_at.is_(None)
        )
    )
    if row is not None:
        row.revoked_at = hub.clock.now()
