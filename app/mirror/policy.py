"""What the settings say about mirroring: which repos, at whose request, and who may see them."""

from fnmatch import fnmatchcase

from sqlalchemy.orm import Session

from app.accounts.permissions import is_member
from app.accounts.tokens import Principal
from app.accounts.users import add_account, find_account
from app.db.tables import Account, MirroredOrg
from app.errors import GatedRepo, RepoNotFound
from app.hub import Hub
from app.mirror.destinations import patterns
from app.mirror.upstream import RemoteRepo, RepoAddress
from app.settings import Settings


def is_allowed(settings: Settings, address: RepoAddress) -> bool:
    """Whether ``mirror.repos`` names a repo, by its path without a leading slash."""
    path = address.page[1:].lower()
    return any(fnmatchcase(path, pattern) for pattern in patterns(settings.mirror.repos))


def check_may_fetch(settings: Settings, principal: Principal | None) -> None:
    """Raise unless requests of this principal make the hub fetch a repo that is not here."""
    by = settings.mirror.fetched_by
    if by == "anyone" or (principal is not None and (by == "users" or principal.is_admin)):
        return
    message = "Repository not found here; this mirror fetches what it lacks for"
    if by == "users":
        raise RepoNotFound(f"{message} users who are signed in (mirror.fetched_by)")
    raise RepoNotFound(f"{message} administrators (mirror.fetched_by)")


def is_private(settings: Settings, remote: RemoteRepo) -> bool:
    """Whether the copy of a repo is to be private."""
    return remote.restricted and settings.mirror.restricted != "open"


def check_may_copy(
    session: Session, settings: Settings, remote: RemoteRepo, principal: Principal | None
) -> None:
    """Raise unless a repo that the upstream shows may be here, and be seen by this principal."""
    if not is_private(settings, remote):
        return
    full_name = remote.address.full_name
    if settings.mirror.restricted == "refuse":
        raise GatedRepo(
            f"Access to {full_name} is restricted on the upstream, and this mirror copies nothing"
            " that is (mirror.restricted)"
        )
    owner = find_account(session, remote.address.namespace)
    if principal is None or not (
        principal.is_admin or (owner is not None and is_member(principal, owner.id))
    ):
        raise RepoNotFound("Repository not found")
    if owner is not None and session.get(MirroredOrg, owner.id) is None:
        raise GatedRepo(
            f"Access to {full_name} is restricted on the upstream, and the name {owner.name} is"
            " that of an account here, whose members must not get it by that"
        )


def find_or_add_owner(session: Session, hub: Hub, name: str) -> Account:
    """The account that mirrored repos of this owner belong to: an organisation without members.

    Raises InvalidRequest for a name that no account may have.
    """
    owner = find_account(session, name)
    if owner is None:
        owner = add_account(session, hub, name, kind="org")
        session.add(MirroredOrg(account_id=owner.id))
        session.flush()
    return owner
