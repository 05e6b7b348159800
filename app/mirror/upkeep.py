"""What an operator does with mirrored repos: list them, ask the upstream now, fetch ahead."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.catalog.naming import RepoType, repo_key
from app.catalog.refs import resolve_revision, revision_or_default
from app.db.tables import Account, AwaitedFile, MirroredRepo, Repo
from app.errors import InvalidRequest, RepoNotFound
from app.hub import Hub
from app.mirror.door import Door
from app.mirror.freshness import Freshness, Mirror
from app.mirror.publishing import owe_head
from app.mirror.upstream import RepoAddress


@dataclass(frozen=True, slots=True)
class MirrorState:
    """A mirrored repo and how much of it was not fetched, over its whole history."""

    repo: str
    """As in a URL: ``namespace/name``, ``datasets/namespace/name``."""
    url: str
    checked_at: datetime | None
    restricted: bool
    awaited_files: int
    awaited_bytes: int


def list_mirrors(session: Session) -> list[MirrorState]:
    """All mirrored repos by name."""
    rows = session.execute(
        select(
            Repo.type,
            Account.name,
            Repo.name,
            MirroredRepo,
            func.count(AwaitedFile.oid),
            func.coalesce(func.sum(AwaitedFile.nbytes), 0),
        )
        .join(Repo, Repo.id == MirroredRepo.repo_id)
        .join(Account, Account.id == Repo.namespace_id)
        .outerjoin(AwaitedFile, AwaitedFile.repo_id == Repo.id)
        .group_by(Repo.id, Account.id, MirroredRepo.repo_id)
        .order_by(Repo.key)
    )
    return [
        MirrorState(
            RepoAddress(repo_type, owner, name).page[1:],  # pyright: ignore[reportArgumentType]
            row.url,
            row.checked_at,
            row.restricted,
            count,
            int(nbytes),
        )
        for repo_type, owner, name, row, count, nbytes in rows
    ]


def refresh(hub: Hub, address: RepoAddress, revision: str | None = None) -> Freshness:
    """Ask the upstream about a repo now, whatever was said before. Raises as ``Mirror.keep``."""
    if hub.settings.upstream is None:
        raise InvalidRequest("this hub mirrors nothing: set CLADE_UPSTREAM")
    mirror = Mirror(hub, Door(hub.settings))
    try:
        state = mirror.keep(address, revision, _operator(hub), force=True)
    finally:
        mirror.close()
    if state is None:
        raise RepoNotFound(
            f"{address.full_name} is not mirrored: it is this hub's own, or not in mirror.repos"
        )
    return state


def fetch_ahead(hub: Hub, address: RepoAddress, revision: str | None) -> int:
    """Queue the fetch of all big files of a revision that are awaited; returns how many.

    Raises as :func:`refresh`, and RevisionNotFound.
    """
    refresh(hub, address, revision)
    key = repo_key(address.repo_type, address.namespace, address.name)

    def work(session: Session) -> int:
        repo = session.scalars(select(Repo).where(Repo.key == key)).one()
        commit = resolve_revision(session, repo, revision_or_default(hub, revision))
        return owe_head(session, hub, repo, commit.oid)

    return hub.db.run(work)


def parse_address(text: str) -> RepoAddress:
    """A repo as in a URL: ``owner/name``, ``datasets/owner/name``. Raises InvalidRequest."""
    first, _, rest = text.partition("/")
    kinds: dict[str, RepoType] = {"datasets": "dataset", "spaces": "space", "models": "model"}
    repo_type = kinds.get(first, "model")
    namespace, slash, name = (rest if first in kinds else text).partition("/")
    if not slash or "/" in name:
        raise InvalidRequest(f"a repository is owner/name or datasets/owner/name, not {text!r}")
    return RepoAddress(repo_type, namespace, name)


def _operator(hub: Hub) -> Principal:
    """Whoever runs commands on the hub's data may do everything."""
    return Principal(
        account_id=0,
        name="operator",
        role="write",
        is_admin=True,
        orgs={},
        fullname="",
        email=None,
        token_name="",
        token_created_at=hub.clock.now(),
    )
