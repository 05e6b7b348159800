"""Repositories: reserved, found in any case of letters, changed, listed and removed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from app.accounts.names import check_name, name_key
from app.accounts.permissions import can_read, can_write_namespace, readable_repos_clause
from app.accounts.tokens import Principal
from app.accounts.users import find_account
from app.db.inserting import insert_if_absent
from app.db.tables import Account, Commit, FamilyMember, Ref, Repo, Tree, TreeEntry
from app.errors import Conflict, Forbidden, RepoNotFound
from app.hub import Hub
from app.jobs.outbox import enqueue

RepoType = Literal["model", "dataset", "space"]
SortKey = Literal["createdAt", "lastModified", "downloads"]

_SORT_COLUMNS = {
    "createdAt": Repo.created_at,
    "lastModified": Repo.updated_at,
    "downloads": Repo.downloads,
}


@dataclass(frozen=True, slots=True)
class RepoQuery:
    """Which repos to list, and in what order."""

    repo_type: RepoType
    search: str = ""
    author: str = ""
    sort: SortKey = "lastModified"
    ascending: bool = False


@dataclass(frozen=True, slots=True)
class ListedRepo:
    """A repo with the name of its owner."""

    repo: Repo
    namespace: str

    @property
    def id(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.repo.name}"


Cursor = tuple[datetime | int, int]
"""Sort value and row id of the last repo seen."""


def find_readable_repo(
    session: Session, principal: Principal | None, repo_type: RepoType, namespace: str, name: str
) -> Repo:
    """The repo of this name. Raises RepoNotFound if it does not exist for this principal."""
    repo = session.scalar(select(Repo).where(Repo.key == _key(repo_type, namespace, name)))
    if repo is None or not can_read(session, principal, repo):
        raise RepoNotFound("Repository not found")
    return repo


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
    private: bool = False,
) -> Repo:
    """Take the name for a repo that has no commit yet; ``app.ingest.creation`` gives it one.

    Raises Conflict if it exists, Forbidden if the principal may not write to the namespace. A repo
    whose creation was cut short before its first commit is handed out again.
    """
    check_name(name, "repository name")

    def work(session: Session) -> Repo:
        owner = find_account(session, namespace or principal.name)
        if owner is None or not can_write_namespace(principal, owner.id):
            raise Forbidden(
                f"You don't have the rights to create a {repo_type} under the namespace"
                f' "{namespace or principal.name}"'
            )
        return _reserve(session, hub, owner, repo_type, name, private)

    return hub.db.run(work)


def delete_repo(hub: Hub, repo: Repo) -> None:
    """Remove a repo with its history. Bytes go when garbage collection finds nobody else's use."""

    def work(session: Session) -> None:
        _owe_measurement(session, hub, repo.id)
        # Refs first, in a statement of their own: commits in flight hold them.
        session.execute(select(Ref.name).where(Ref.repo_id == repo.id).with_for_update())
        for table in (Ref, Commit, TreeEntry, Tree):
            session.execute(delete(table).where(table.repo_id == repo.id))
        session.execute(delete(Repo).where(Repo.id == repo.id))

    hub.db.run(work)


def set_private(hub: Hub, repo: Repo, private: bool) -> Repo:
    """Change who may see a repo; returns its new state."""

    def work(session: Session) -> Repo:
        row = session.get(Repo, repo.id, with_for_update=True)
        if row is None:
            raise RepoNotFound("Repository not found")
        row.private = private
        row.updated_at = hub.clock.now()
        _owe_measurement(session, hub, repo.id)
        return row

    return hub.db.run(work)


def _owe_measurement(session: Session, hub: Hub, repo_id: int) -> None:
    """Its family needs another root, or other parents: measure it again around who is left."""
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
    for member in public or sorted(private.values()):
        enqueue(session, hub, "family", key=f"repo:{member}", payload={"repo_id": member})


def list_repos(
    session: Session,
    principal: Principal | None,
    query: RepoQuery,
    *,
    after: Cursor | None = None,
    limit: int = 100,
) -> tuple[list[ListedRepo], Cursor | None]:
    """A page of the repos that exist for this principal, and where the next one starts."""
    column = _SORT_COLUMNS[query.sort]
    statement = (
        select(Repo, Account.name)
        .join(Account, Account.id == Repo.namespace_id)
        .where(Repo.type == query.repo_type, readable_repos_clause(principal))
        .limit(limit + 1)
    )
    if query.search:
        prefix = f"{query.repo_type}/"
        found = func.substr(Repo.key, len(prefix) + 1).contains(
            name_key(query.search), autoescape=True
        )
        statement = statement.where(found)
    if query.author:
        statement = statement.where(Account.key == name_key(query.author))
    if after is not None:
        value, row_id = after
        beyond = (
            or_(column > value, and_(column == value, Repo.id > row_id))
            if query.ascending
            else or_(column < value, and_(column == value, Repo.id < row_id))
        )
        statement = statement.where(beyond)
    ways = (column.asc(), Repo.id.asc()) if query.ascending else (column.desc(), Repo.id.desc())
    rows = [ListedRepo(repo, name) for repo, name in session.execute(statement.order_by(*ways))]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1].repo
    return rows[:limit], (getattr(last, column.key), last.id)


def used_storage_nbytes(session: Session, repo: Repo) -> int:
    """Logical bytes of every version of every file in the repo's history, each once."""
    files = (
        select(TreeEntry.file_id, TreeEntry.size)
        .where(TreeEntry.repo_id == repo.id, TreeEntry.file_id.is_not(None))
        .distinct()
        .subquery()
    )
    return int(session.scalar(select(func.sum(files.c.size))) or 0)


def _reserve(
    session: Session, hub: Hub, owner: Account, repo_type: RepoType, name: str, private: bool
) -> Repo:
    now = hub.clock.now()
    key = _key(repo_type, owner.name, name)
    row = {
        "type": repo_type,
        "namespace_id": owner.id,
        "name": name,
        "key": key,
        "private": private,
        "created_at": now,
        "updated_at": now,
    }
    inserted = insert_if_absent(session, Repo, row)
    repo = session.scalars(select(Repo).where(Repo.key == key)).one()
    has_history = session.scalar(select(Ref.name).where(Ref.repo_id == repo.id).limit(1))
    if not inserted and has_history is not None:
        raise Conflict(f"You already created this {repo_type} repo")
    return repo


def _key(repo_type: RepoType, namespace: str, name: str) -> str:
    return f"{repo_type}/{name_key(namespace)}/{name_key(name)}"
