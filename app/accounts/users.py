"""Users, organisations and who belongs to which."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import check_account_name, name_key
from app.accounts.tokens import OrgRole, TokenRole, add_token, authenticate, new_token
from app.db.tables import Account, Membership
from app.errors import Conflict, NotFound, Unauthorized
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user just created. ``token`` is shown once and stored nowhere."""

    account_id: int
    name: str
    token: str


def create_user(
    hub: Hub,
    name: str,
    *,
    token: str | None = None,
    admin: bool = False,
    orgs: Sequence[str] = (),
    role: TokenRole = "write",
    fullname: str = "",
    email: str | None = None,
) -> NewUser:
    """Create a user with one token, given or random, and put it into ``orgs``.

    An organisation that does not exist is created with this user as its admin; others are joined
    with the write role. A user of this name who holds the given token already is left as it is,
    but for new organisations: seeding may be repeated. Raises Conflict if the name or the token is
    somebody else's, InvalidRequest for a name the Hub would not allow.
    """
    secret = token or new_token()

    def work(session: Session) -> int:
        account = find_account(session, name)
        if account is None or token is None or not _holds(session, account, token):
            account = add_account(
                session, hub, name, kind="user", is_admin=admin, fullname=fullname, email=email
            )
            add_token(session, hub, account.id, secret, role=role)
            note(session, hub, "user.create", name, "administrator" if admin else "")
        for org_name in orgs:
            org = find_account(session, org_name)
            if org is None:
                org = add_account(session, hub, org_name, kind="org")
                set_membership(session, org, account.id, "admin")
            elif session.get(Membership, (org.id, account.id)) is None:
                set_membership(session, org, account.id, "write")
        return account.id

    return NewUser(account_id=hub.db.run(work), name=name, token=secret)


def give_token(hub: Hub, name: str, *, token: str | None = None, role: TokenRole) -> str:
    """Give a user one more token, given or random; returns it, as it is stored nowhere.

    Raises NotFound for an unknown user, Conflict for a token in use.
    """
    secret = token or new_token()

    def work(session: Session) -> None:
        account = find_account(session, name)
        if account is None or account.kind != "user":
            raise NotFound(f"no user {name!r}")
        row = add_token(session, hub, account.id, secret, name=role, role=role)
        note(session, hub, "token.create", account.name, f"{row.id} {role}")

    hub.db.run(work)
    return secret


def create_org(
    hub: Hub,
    name: str,
    *,
    fullname: str = "",
    admins: Sequence[str] = (),
    private_by_default: bool = False,
) -> int:
    """Create an organisation, run by the users named; returns its account id.

    ``private_by_default``: whether its new repos are private unless their maker says otherwise.
    Raises Conflict if the name is taken, NotFound for an unknown user.
    """

    def work(session: Session) -> int:
        org = add_account(session, hub, name, kind="org", fullname=fullname)
        org.private_by_default = private_by_default
        for user_name in admins:
            user = find_account(session, user_name)
            if user is None:
                raise NotFound(f"no user {user_name!r}")
            set_membership(session, org, user.id, "admin")
        note(session, hub, "org.create", name)
        return org.id

    return hub.db.run(work)


def join_org(hub: Hub, org_name: str, user_name: str, role: OrgRole) -> None:
    """Give a user a role in an organisation. Raises NotFound, Conflict for what is none."""

    def work(session: Session) -> None:
        org, user = find_account(session, org_name), find_account(session, user_name)
        if org is None:
            raise NotFound(f"no organisation {org_name!r}")
        if user is None or user.kind != "user":
            raise NotFound(f"no user {user_name!r}")
        set_membership(session, org, user.id, role)
        note(session, hub, "org.role", org.name, f"{user.name} {role}")

    hub.db.run(work)


def has_users(hub: Hub) -> bool:
    """Whether anybody could log in."""
    with hub.db.read() as session:
        return session.scalar(select(Account.id).where(Account.kind == "user").limit(1)) is not None


def find_account(session: Session, name: str) -> Account | None:
    """The user or organisation of this name, in any case of letters."""
    if "\x00" in name:  # an encoded slash of a URL; PostgreSQL refuses to look for it
        return None
    return session.scalar(select(Account).where(Account.key == name_key(name)))


def set_membership(session: Session, org: Account, user_id: int, role: OrgRole) -> None:
    """Give a user a role in an organisation, replacing the one it has."""
    if org.kind != "org":
        raise Conflict(f"{org.name} is a user, not an organisation")
    row = session.get(Membership, (org.id, user_id))
    if row is None:
        session.add(Membership(org_id=org.id, user_id=user_id, role=role))
    else:
        row.role = role
    session.flush()


def _holds(session: Session, account: Account, token: str) -> bool:
    try:
        return authenticate(session, token).account_id == account.id
    except Unauthorized:
        return False


def add_account(
    session: Session,
    hub: Hub,
    name: str,
    *,
    kind: str,
    is_admin: bool = False,
    fullname: str = "",
    email: str | None = None,
) -> Account:
    """A new account. Raises Conflict for a taken name, InvalidRequest for one not allowed."""
    check_account_name(name)
    if find_account(session, name) is not None:
        raise Conflict(f"the name {name!r} is taken")
    account = Account(
        kind=kind,
        name=name,
        key=name_key(name),
        fullname=fullname,
        email=email,
        is_admin=is_admin,
        created_at=hub.clock.now(),
    )
    session.add(account)
    session.flush()
    return account
