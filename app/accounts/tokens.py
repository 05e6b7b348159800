"""Access tokens: issued once, stored as SHA-256, authenticated, revoked.

A token carries 256 random bits, so an unsalted digest cannot be reversed, and looking it up by
digest leaks no timing about the secret itself. Who asks is the token, not its user: a fine-grained
one opens what its scopes name and its user may open, and a read token never writes.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Row, Select, bindparam, or_, select
from sqlalchemy.orm import Session

from app.db.tables import AccessToken, Account, Membership, TokenScope
from app.errors import Conflict, InvalidRequest, Unauthorized
from app.hub import Hub

TokenRole = Literal["read", "write", "fineGrained"]
OrgRole = Literal["admin", "write", "contributor", "read"]

BAD_CREDENTIALS = "Invalid credentials in Authorization header"
"""The clients tell a bad token from a missing repo by exactly these words."""

ALPHABET = string.ascii_letters + string.digits

_MAX_TOKEN_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Scope:
    """What a fine-grained token is for: id -> whether it may write there."""

    namespaces: Mapping[int, bool] = field(default_factory=dict)
    repos: Mapping[int, bool] = field(default_factory=dict)

    def writes(self, repo_id: int, namespace_id: int) -> bool:
        """Whether it may write to a repo."""
        return self.repos.get(repo_id, False) or self.namespaces.get(namespace_id, False)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, as far as one token vouches for it."""

    account_id: int
    name: str
    role: TokenRole
    """A read token never writes, whoever owns it."""
    is_admin: bool
    """Never true of a fine-grained token."""
    orgs: Mapping[int, OrgRole]
    """Account id of each organisation -> role in it."""
    fullname: str
    email: str | None
    token_name: str
    token_created_at: datetime
    token_id: int = 0
    scope: Scope | None = None
    """Of a fine-grained token; None: everything that its user may."""

    @property
    def owners(self) -> list[int]:
        """Accounts that its user acts for: his own and his organisations."""
        return [self.account_id, *self.orgs]

    @property
    def namespaces(self) -> list[int]:
        """Accounts all of whose private repos exist for it."""
        if self.scope is None:
            return self.owners
        return [owner for owner in self.owners if owner in self.scope.namespaces]

    @property
    def single_repos(self) -> list[int]:
        """Repos beside those that a fine-grained token names one by one."""
        return [] if self.scope is None else sorted(self.scope.repos)


# Of the tables and not of their classes: for rows that are only read the ORM would double the time.
_token, _account, _membership = (each.__table__.c for each in (AccessToken, Account, Membership))


def _select_tokens(which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """A token valid ``now`` with its user, once for each organisation that he is in."""
    return (
        select(
            _token.id.label("token_id"),
            _token.digest,
            _token.role,
            _token.name.label("token_name"),
            _token.created_at,
            _account.id.label("account_id"),
            _account.name,
            _account.fullname,
            _account.email,
            _account.is_admin,
            _membership.org_id,
            _membership.role.label("org_role"),
        )
        .select_from(AccessToken.__table__)
        .join(Account.__table__, _account.id == _token.account_id)
        .outerjoin(Membership.__table__, _membership.user_id == _account.id)
        .where(
            which,
            _token.revoked_at.is_(None),
            or_(_token.expires_at.is_(None), _token.expires_at > bindparam("now")),
        )
    )


# Built once: every request asks, and building would take longer than the database.
_BY_DIGEST = _select_tokens(_token.digest == bindparam("digest"))
_BY_ID = _select_tokens(_token.id == bindparam("id"))


def authenticate(session: Session, token: str, *, now: datetime | None = None) -> Principal:
    """The principal of a token. Raises Unauthorized for an unknown, revoked or expired one.

    ``now``: by the hub's clock; the machine's, if None.
    """
    digest = token_digest(token)
    asked = {"digest": digest, "now": now or datetime.now(UTC)}
    rows = session.execute(_BY_DIGEST, asked).all()
    if not rows or not hmac.compare_digest(rows[0].digest, digest):
        raise Unauthorized(BAD_CREDENTIALS)
    return _principal(session, rows)


def principal_of(session: Session, token_id: int, *, now: datetime) -> Principal | None:
    """Who a token vouches for by now; None if it was revoked or has expired, or for no token."""
    rows = session.execute(_BY_ID, {"id": token_id, "now": now}).all()
    return _principal(session, rows) if rows else None


def _principal(session: Session, rows: Sequence[Row[*tuple[Any, ...]]]) -> Principal:
    found = rows[0]
    is_scoped = found.role == "fineGrained"
    return Principal(
        account_id=found.account_id,
        name=found.name,
        role=cast("TokenRole", found.role),
        is_admin=found.is_admin and not is_scoped,
        orgs={row.org_id: cast("OrgRole", row.org_role) for row in rows if row.org_id is not None},
        fullname=found.fullname or found.name,
        email=found.email,
        token_name=found.token_name,
        token_created_at=found.created_at,
        token_id=found.token_id,
        scope=_scope(session, found.token_id) if is_scoped else None,
    )


def _scope(session: Session, token_id: int) -> Scope:
    rows = session.scalars(select(TokenScope).where(TokenScope.token_id == token_id)).all()
    return Scope(
        namespaces={row.account_id: row.writes for row in rows if row.account_id is not None},
        repos={row.repo_id: row.writes for row in rows if row.repo_id is not None},
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
    expires_at: datetime | None = None,
) -> AccessToken:
    """Store a token for an account. Raises Conflict if this very token is in use already."""
    if not token or len(token) > _MAX_TOKEN_LENGTH or not token.isprintable() or " " in token:
        raise InvalidRequest("a token is 1 to 512 printable characters without spaces")
    digest = token_digest(token)
    if session.scalar(select(AccessToken.id).where(AccessToken.digest == digest)) is not None:
        raise Conflict("this token is in use already")
    row = AccessToken(
        account_id=account_id,
        digest=digest,
        name=name,
        role=role,
        created_at=hub.clock.now(),
        expires_at=expires_at,
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
