"""Tokens as their owners manage them: issued with a scope and an end, listed, revoked.

A token that a token issues is never worth more than that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import name_key
from app.accounts.tokens import Principal, TokenRole, add_token, new_token
from app.accounts.users import find_account
from app.db.tables import AccessToken, Account, Repo, TokenScope
from app.errors import Forbidden, InvalidRequest, NotFound
from app.hub import Hub

MOST_SCOPES = 100
MAX_NAME_LENGTH = 128

_TYPES = {"datasets/": "dataset", "spaces/": "space"}


@dataclass(frozen=True, slots=True)
class ScopeName:
    """Something that a token is to open: an account, or a repo as ``[datasets/]owner/name``."""

    entity: str
    writes: bool


@dataclass(frozen=True, slots=True)
class ListedToken:
    """A token without its secret."""

    id: int
    owner: str
    name: str
    role: TokenRole
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    scopes: Sequence[ScopeName]


def issue_token(
    hub: Hub,
    owner: str,
    *,
    name: str,
    role: TokenRole,
    scopes: Sequence[ScopeName] = (),
    lasts: timedelta | None = None,
    secret: str | None = None,
) -> tuple[int, str]:
    """A fresh token of a user: its id, and the secret, which is stored nowhere.

    Raises NotFound for an unknown user, account or repo, InvalidRequest for scopes that do not fit
    the role, Conflict if a given secret is in use.
    """
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidRequest(f"a token's name has 1 to {MAX_NAME_LENGTH} printable characters")
    if (role == "fineGrained") != bool(scopes) or len(scopes) > MOST_SCOPES:
        raise InvalidRequest(f"a fineGrained token has 1 to {MOST_SCOPES} scopes, others none")
    if lasts is not None and lasts <= timedelta(0):
        raise InvalidRequest("a token lasts for some time")
    secret = secret or new_token()

    def work(session: Session) -> int:
        user = find_account(session, owner)
        if user is None or user.kind != "user":
            raise NotFound(f"no user {owner!r}")
        expires_at = hub.clock.now() + lasts if lasts is not None else None
        row = add_token(session, hub, user.id, secret, name=name, role=role, expires_at=expires_at)
        session.add_all(_scope_row(session, row.id, scope) for scope in scopes)
        session.flush()
        opens = " ".join(f"{each.entity}:{'rw'[each.writes]}" for each in scopes)
        note(session, hub, "token.create", user.name, f"{row.id} {role} {opens}".strip())
        return row.id

    return hub.db.run(work), secret


def check_may_issue(caller: Principal) -> None:
    """Raise Forbidden unless the caller's token may make others."""
    if caller.role != "write":
        raise Forbidden("a token with the write role is needed to make or revoke tokens")


def list_tokens(
    session: Session, *, account_id: int | None = None, revoked: bool = False
) -> list[ListedToken]:
    """Tokens of an account, or all, newest first; ``revoked``: those that are over, too."""
    query = select(AccessToken, Account.name).join(Account, Account.id == AccessToken.account_id)
    if account_id is not None:
        query = query.where(AccessToken.account_id == account_id)
    if not revoked:
        query = query.where(AccessToken.revoked_at.is_(None))
    rows = session.execute(query.order_by(AccessToken.id.desc())).all()
    scopes = _scope_names(session, [row.id for row, _ in rows])
    return [
        ListedToken(
            id=row.id,
            owner=name,
            name=row.name,
            role=row.role,  # pyright: ignore[reportArgumentType]
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            scopes=scopes.get(row.id, []),
        )
        for row, name in rows
    ]


def revoke(hub: Hub, token_id: int, *, account_id: int | None = None) -> None:
    """Refuse a token from now on, and every link that was handed out on its word.

    ``account_id``: whose it must be. Raises NotFound. Revoked already: no error.
    """

    def work(session: Session) -> None:
        row = session.get(AccessToken, token_id, with_for_update=True)
        if row is None or account_id not in {None, row.account_id}:
            raise NotFound(f"no token {token_id}")
        row.revoked_at = row.revoked_at or hub.clock.now()
        owner = session.get_one(Account, row.account_id)
        note(session, hub, "token.revoke", owner.name, str(row.id))

    hub.db.run(work)


def _scope_row(session: Session, token_id: int, scope: ScopeName) -> TokenScope:
    row = TokenScope(token_id=token_id, writes=scope.writes)
    prefix, _, rest = scope.entity.partition("/")
    kind = _TYPES.get(f"{prefix}/", "model")
    full = rest if kind != "model" else scope.entity
    if "/" in full:
        key = f"{kind}/{name_key(full)}"
        row.repo_id = session.scalar(select(Repo.id).where(Repo.key == key))
    else:
        account = find_account(session, full)
        row.account_id = None if account is None else account.id
    if row.repo_id is None and row.account_id is None:
        raise NotFound(f"no account or repository {scope.entity!r}")
    return row


def _scope_names(session: Session, token_ids: Sequence[int]) -> dict[int, list[ScopeName]]:
    found: dict[int, list[ScopeName]] = {}
    prefixes = {kind: prefix for prefix, kind in _TYPES.items()}
    whole = (
        select(TokenScope.token_id, Account.name, TokenScope.writes)
        .join(Account, Account.id == TokenScope.account_id)
        .where(TokenScope.token_id.in_(token_ids))
    )
    for token_id, name, writes in session.execute(whole.order_by(TokenScope.id)):
        found.setdefault(token_id, []).append(ScopeName(name, writes))
    single = (
        select(TokenScope.token_id, Account.name, Repo.name, Repo.type, TokenScope.writes)
        .join(Repo, Repo.id == TokenScope.repo_id)
        .join(Account, Account.id == Repo.namespace_id)
        .where(TokenScope.token_id.in_(token_ids))
    )
    for token_id, owner, name, kind, writes in session.execute(single.order_by(TokenScope.id)):
        entity = f"{prefixes.get(kind, '')}{owner}/{name}"
        found.setdefault(token_id, []).append(ScopeName(entity, writes))
    return found
