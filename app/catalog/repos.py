"""Repositories: reserved, found in any case of letters, changed and removed."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.domains import owe_sharing
from app.accounts.names import check_name
from app.accounts.permissions import can_create, can_open, can_read
from app.accounts.proposing import mark_proposers_stale
from app.accounts.quotas import check_new_repo
from app.accounts.tokens import Principal
from app.accounts.usage import begin_usage
from app.accounts.users import find_account
from app.catalog.naming import RepoType, find_by_former_name, repo_key, take_name
from app.catalog.tag_lists import show_tags
from app.db.inserting import insert_if_absent
from app.db.tables import (
    Account,
    Commit,
    FamilyMember,
    ProposedFile,
    Ref,
    Repo,
    Tree,
    TreeEntry,
)
from app.errors import Conflict, Forbidden, GatedRepo, RepoMoved, RepoNotFound
from app.hub import Hub
from app.jobs.outbox import enqueue

Gate = Literal["auto", "manual", False]
"""Who is let in to the files: who asks, who an owner accepts; False: whoever sees the repo."""

_BY_KEY = select(Repo).where(Repo.key == bindparam("key"))


@dataclass(frozen=True, slots=True)
class ListedRepo:
    """A repo with the name of its owner."""

    repo: Repo
    namespace: str

    @property
    def id(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.repo.name}"


def find_readable_repo(
    session: Session, principal: Principal | None, repo_type: RepoType, namespace: str, name: str
) -> Repo:
    """The repo of this name. Raises RepoNotFound if it does not exist for this principal.

    RepoMoved if it had this name once, and nobody has it now.
    """
    key = repo_key(repo_type, namespace, name)
    repo = session.scalar(_BY_KEY, {"key": key})
    if repo is not None and can_read(session, principal, repo):
        return repo
    moved = find_by_former_name(session, key) if repo is None else None
    if moved is not None and can_read(session, principal, moved):
        raise RepoMoved(repo_id(session, moved))
    raise RepoNotFound("Repository not found")


def check_open(session: Session, principal: Principal | None, repo: Repo) -> None:
    """Raise GatedRepo unless this principal may read the files of a repo that exists for him."""
    if can_open(session, principal, repo):
        return
    message = (
        f"Access to {repo.type} {repo_id(session, repo)} is restricted and you are not in the"
        " authorized list."
    )
    if principal is None:
        raise GatedRepo(f"{message} Log in with an account that was let in.")
    raise GatedRepo(f"{message} Ask for access on its page.")


def repo_id(session: Session, repo: Repo) -> str:
    """``namespace/name`` as their creators wrote them."""
    return f"{session.get_one(Account, repo.namespace_id).name}/{repo.name}"


def reserve_repo(
    hub: Hub,
    principal: Principal,
    repo_type: RepoType,
    namespace: str | None,
    name: str,
    *,
    private: bool | None = None,
) -> Repo:
    """Take the name for a repo that has no commit yet; ``app.ingest.creation`` gives it one.

    ``private``: as the owner has it by default, if None. Raises Conflict if it exists, Forbidden if
    the principal may not make repos in the namespace. A repo whose creation was cut short before
    its first commit is handed out again.
    """
    check_name(name, "repository name")

    def work(session: Session) -> Repo:
        owner = find_owner(session, principal, repo_type, namespace or principal.name)
        is_private = owner.private_by_default if private is None else private
        return reserve_name(
            session,
            hub,
            owner,
            repo_type,
            name,
            creator_id=principal.account_id,
            private=is_private,
            gated=None,
        )

    return hub.db.run(work)


def find_owner(
    session: Session, principal: Principal, repo_type: RepoType, namespace: str
) -> Account:
    """Who is to own a repo. Raises Forbidden if the principal may not make one there."""
    owner = find_account(session, namespace)
    if owner is None or not can_create(principal, owner.id):
        raise Forbidden(
            f'You don\'t have the rights to create a {repo_type} under the namespace "{namespace}"'
        )
    return owner


def reserve_name(
    session: Session,
    hub: Hub,
    owner: Account,
    repo_type: RepoType,
    name: str,
    *,
    creator_id: int | None,
    private: bool,
    gated: str | None,
) -> Repo:
    """A new repo without any commit, or one that never got one. Raises Conflict if it exists."""
    now = hub.clock.now()
    key = repo_key(repo_type, owner.name, name)
    row = {
        "type": repo_type,
        "namespace_id": owner.id,
        "name": name,
        "key": key,
        "private": private,
        "gated": gated,
        "creator_id": creator_id,
        "created_at": now,
        "updated_at": now,
    }
    inserted = insert_if_absent(session, Repo, row)
    repo = session.scalars(select(Repo).where(Repo.key == key)).one()
    has_history = session.scalar(select(Ref.name).where(Ref.repo_id == repo.id).limit(1))
    if not inserted and has_history is not None:
        raise Conflict(f"You already created this {repo_type} repo")
    if inserted:
        begin_usage(session, repo.id)
        take_name(session, repo)
        check_new_repo(session, hub, owner)
    return repo


def delete_repo(hub: Hub, repo: Repo) -> None:
    """Remove a repo with its history. Bytes go when garbage collection finds nobody else's use."""

    def work(session: Session) -> None:
        owe_measurement(session, hub, repo.id)
        # Refs first, in a statement of their own: commits in flight hold them.
        session.execute(select(Ref.name).where(Ref.repo_id == repo.id).with_for_update())
        for table in (Ref, Commit, TreeEntry, Tree):
            session.execute(delete(table).where(table.repo_id == repo.id))
        mark_proposers_stale(session, ProposedFile.repo_id == repo.id)
        session.execute(delete(Repo).where(Repo.id == repo.id))
        note(session, hub, "repo.delete", repo.key)

    hub.db.run(work)


def set_private(hub: Hub, repo: Repo, private: bool) -> Repo:
    """Change who may see a repo; returns its new state."""
    return change_settings(hub, repo, private=private)


def change_settings(
    hub: Hub, repo: Repo, *, private: bool | None = None, gated: Gate | None = None
) -> Repo:
    """Change who may see a repo and who may read its files; None leaves as it is."""

    def work(session: Session) -> Repo:
        row = lock_repo(session, repo.id)
        row.updated_at = hub.clock.now()
        if gated is not None:
            row.gated = gated or None
        if private is not None:
            row.private = private
            show_tags(session, row)
            owe_measurement(session, hub, repo.id)
        if not row.private and row.gated is None:
            owe_sharing(session, hub, repo.id)
        note(session, hub, "repo.settings", row.key, f"private={row.private} gated={row.gated}")
        return row

    return hub.db.run(work)


def lock_repo(session: Session, repo_id: int) -> Repo:
    """The row of a repo, locked. Raises RepoNotFound if it was deleted meanwhile."""
    row = session.get(Repo, repo_id, with_for_update=True)
    if row is None:
        raise RepoNotFound("Repository not found")
    return row


def owe_measurement(session: Session, hub: Hub, repo_id: int) -> None:
    """Its family needs another root, or other parents: measure again around who is left, and it."""
    family = select(FamilyMember.family_id).where(FamilyMember.repo_id == repo_id)
    others = session.execute(
        select(Repo.id, Repo.namespace_id, Repo.private)
        .join(FamilyMember, FamilyMember.repo_id == Repo.id)
        .where(FamilyMember.family_id.in_(family), Repo.id != repo_id)
        .order_by(Repo.id)
    ).all()
    # A public member is measured with all; private ones only with those of their namespace.
    public = [member for member, _, private in others if not private][:1]
    private = {namespace: member for member, namespace, _ in reversed(others)}
    for member in [*(public or sorted(private.values())), repo_id]:
        enqueue(session, hub, "family", key=f"repo:{member}", payload={"repo_id": member})
