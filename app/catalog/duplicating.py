"""A repository copied inside the hub: its history, without a single byte of its files."""

from sqlalchemy import insert, literal, null, or_, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import check_name
from app.accounts.quotas import check_room
from app.accounts.tokens import Principal
from app.accounts.usage import recount
from app.catalog.indexing import owe_indexing
from app.catalog.mirrored import check_whole
from app.catalog.refs import BRANCH, TAG
from app.catalog.repos import find_owner, reserve_name
from app.db.tables import Commit, Ref, Repo, Tree, TreeEntry
from app.errors import RepoNotFound
from app.hub import Hub
from app.jobs.outbox import enqueue


def duplicate_repo(
    hub: Hub,
    principal: Principal,
    source: Repo,
    namespace: str,
    name: str,
    *,
    private: bool | None = None,
) -> Repo:
    """A new repo with the branches, tags and commits of ``source``, which the principal may open.

    ``private``: as the source is, if None; it stays gated if the source is. Raises Conflict if the
    name is taken or files of a mirror are awaited, Forbidden if the principal may not make repos
    there.
    """
    check_name(name, "repository name")

    def work(session: Session) -> Repo:
        # Held until the end, so that no file goes while the second tree that names it is written.
        held = select(Ref.name).where(Ref.repo_id == source.id).with_for_update(read=True)
        session.execute(held)
        origin = session.get(Repo, source.id)
        if origin is None:
            raise RepoNotFound("Repository not found")
        check_whole(session, origin)
        owner = find_owner(session, principal, origin.type, namespace)  # pyright: ignore[reportArgumentType]
        copy = reserve_name(
            session,
            hub,
            owner,
            origin.type,  # pyright: ignore[reportArgumentType]
            name,
            creator_id=principal.account_id,
            private=origin.private if private is None else private,
            gated=origin.gated,
        )
        _copy_history(session, origin.id, copy.id)
        recount(session, copy.id)
        check_room(session, hub, copy, proposer=None)
        note(session, hub, "repo.duplicate", origin.key, copy.key)
        owe_indexing(session, hub, copy.id)
        if copy.type == "model":
            enqueue(session, hub, "family", key=f"repo:{copy.id}", payload={"repo_id": copy.id})
        return copy

    return hub.db.run(work)


def _copy_history(session: Session, source: int, target: int) -> None:
    """Every tree and commit, and the refs that are the repo's own (pull requests are not)."""
    for table in (Tree, TreeEntry, Commit, Ref):
        columns = [column for column in table.__table__.columns if column.name != "repo_id"]
        values = [
            null().label(column.name) if column.name == "request_digest" else column
            for column in columns
        ]
        rows = select(literal(target).label("repo_id"), *values).where(table.repo_id == source)
        if table is Ref:
            rows = rows.where(or_(Ref.name.startswith(BRANCH), Ref.name.startswith(TAG)))
        names = ["repo_id", *(column.name for column in columns)]
        session.execute(insert(table).from_select(names, rows))
