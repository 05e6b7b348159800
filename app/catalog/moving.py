"""Repositories renamed, and handed over to another owner."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.names import check_name
from app.accounts.quotas import check_new_repo, check_room
from app.accounts.tokens import Principal
from app.catalog.naming import repo_key, take_name
from app.catalog.repos import find_owner, lock_repo, owe_measurement
from app.catalog.tag_lists import show_tags
from app.db.tables import Repo
from app.errors import Conflict
from app.hub import Hub


def move_repo(hub: Hub, principal: Principal, repo: Repo, namespace: str, name: str) -> Repo:
    """Give a repo another name, owner or both; the old name leads to it until somebody takes it.

    That the principal may write to the repo is checked above. Raises Conflict if the name is taken,
    Forbidden if the principal may not make repos for the new owner, InvalidRequest for a name that
    is not allowed.
    """
    check_name(name, "repository name")

    def work(session: Session) -> Repo:
        row = lock_repo(session, repo.id)
        owner = find_owner(session, principal, row.type, namespace)  # pyright: ignore[reportArgumentType]
        key = repo_key(row.type, owner.name, name)  # pyright: ignore[reportArgumentType]
        taken = select(Repo.id).where(Repo.key == key, Repo.id != row.id)
        conflict = Conflict(f"A {row.type} repository called {owner.name}/{name} already exists")
        if session.scalar(taken) is not None:
            raise conflict
        former_key, handed_over = row.key, row.namespace_id != owner.id
        row.key, row.name, row.namespace_id = key, name, owner.id
        try:
            session.flush()
            if handed_over:
                check_new_repo(session, hub, owner)
                check_room(session, hub, row, proposer=None)
        except IntegrityError:  # somebody else took it just now
            raise conflict from None
        take_name(session, row, former_key=former_key)
        if handed_over:
            show_tags(session, row)
            owe_measurement(session, hub, row.id)
        note(session, hub, "repo.move", former_key, row.key)
        return row

    return hub.db.run(work)
