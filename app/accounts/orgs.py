"""Organisations and users as others see them: who belongs to which, and how much they own."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, false, func, or_, select, true
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.permissions import can_administer, is_member, readable_repos_clause
from app.accounts.tokens import OrgRole, Principal
from app.accounts.users import find_account, set_membership
from app.db.tables import Account, Membership, Repo, RepoLike
from app.errors import Conflict, Forbidden, NotFound
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organisation."""

    account: Account
    role: OrgRole


@dataclass(frozen=True, slots=True)
class Holdings:
    """How many repos of an account exist for a caller."""

    models: int = 0
    datasets: int = 0
    spaces: int = 0


def find_org(session: Session, name: str) -> Account:
    """The organisation of this name. Raises NotFound."""
    account = find_account(session, name)
    if account is None or account.kind != "org":
        raise NotFound(f"no organization {name!r}")
    return account


def find_user(session: Session, name: str) -> Account:
    """The user of this name. Raises NotFound."""
    account = find_account(session, name)
    if account is None or account.kind != "user":
        raise NotFound(f"no user {name!r}")
    return account


def holdings(session: Session, caller: Principal | None, account: Account) -> Holdings:
    """Counts of an account's repos, private ones only if they exist for the caller."""
    seen = true() if is_member(caller, account.id) else Repo.private == false()
    rows = session.execute(
        select(Repo.type, func.count())
        .where(Repo.namespace_id == account.id, or_(Repo.private == false(), seen))
        .group_by(Repo.type)
    )
    counts = {kind: int(number) for kind, number in rows}
    return Holdings(counts.get("model", 0), counts.get("dataset", 0), counts.get("space", 0))


def count_likes(session: Session, caller: Principal | None, account: Account) -> int:
    """How many repos that exist for the caller a user likes."""
    likes = (
        select(func.count())
        .select_from(RepoLike)
        .join(Repo, Repo.id == RepoLike.repo_id)
        .where(RepoLike.account_id == account.id, readable_repos_clause(caller))
    )
    return int(session.scalar(likes) or 0)


def count_members(session: Session, org: Account) -> int:
    """How many users an organisation has."""
    return int(session.scalar(select(func.count()).where(Membership.org_id == org.id)) or 0)


def list_members(
    session: Session, org: Account, *, after: int = 0, limit: int = 1_000
) -> Sequence[Member]:
    """Members of an organisation, by account id, from beyond ``after``."""
    rows = session.execute(
        select(Account, Membership.role)
        .join(Membership, Membership.user_id == Account.id)
        .where(Membership.org_id == org.id, Membership.user_id > after)
        .order_by(Membership.user_id)
        .limit(limit)
    )
    return [Member(account, role) for account, role in rows]  # pyright: ignore[reportArgumentType]


def list_orgs_of(session: Session, user: Account) -> Sequence[Account]:
    """Organisations that a user belongs to, by name."""
    return session.scalars(
        select(Account)
        .join(Membership, Membership.org_id == Account.id)
        .where(Membership.user_id == user.id)
        .order_by(Account.key)
    ).all()


def set_role(hub: Hub, caller: Principal, org_name: str, user_name: str, role: OrgRole) -> None:
    """Take a user in, or give a member another role.

    Raises Forbidden unless the caller administers the organisation, NotFound, and Conflict if
    nobody would administer it any more.
    """

    def work(session: Session) -> None:
        org = _administered(session, caller, org_name)
        user = find_user(session, user_name)
        set_membership(session, org, user.id, role)
        _check_administered(session, org)
        note(session, hub, "org.role", org.name, f"{user.name} {role}")

    hub.db.run(work)


def remove_member(hub: Hub, caller: Principal, org_name: str, user_name: str) -> None:
    """Send a member away; members may leave by themselves. Raises as :func:`set_role` does."""

    def work(session: Session) -> None:
        user = find_user(session, user_name)
        if user.id == caller.account_id and caller.role == "write":
            org = find_org(session, org_name)
            _lock(session, org)
        else:
            org = _administered(session, caller, org_name)
        gone = session.execute(
            delete(Membership)
            .where(Membership.org_id == org.id, Membership.user_id == user.id)
            .returning(Membership.user_id)
        ).first()
        if gone is None:
            raise NotFound(f"{user.name} is no member of {org.name}")
        _check_administered(session, org)
        note(session, hub, "org.remove", org.name, user.name)

    hub.db.run(work)


def _administered(session: Session, caller: Principal, name: str) -> Account:
    org = find_org(session, name)
    if not can_administer(caller, org.id):
        raise Forbidden(f"you do not administer {org.name}")
    _lock(session, org)
    return org


def _lock(session: Session, org: Account) -> None:
    """One change of members at a time: two admins must not send each other away."""
    session.execute(select(Account.id).where(Account.id == org.id).with_for_update())


def _check_administered(session: Session, org: Account) -> None:
    admins = select(Membership.user_id).where(
        Membership.org_id == org.id, Membership.role == "admin"
    )
    if session.scalar(admins.limit(1)) is None:
        raise Conflict(f"{org.name} needs somebody to administer it")
