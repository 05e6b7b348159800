"""What the repos of an owner take up."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Account, Repo, RepoCard


@dataclass(frozen=True, slots=True)
class UsedStorage:
    """A repo and the logical bytes of every version of every file, each once."""

    repo: Repo
    nbytes: int


def list_storage(
    session: Session, owner: Account, *, after: int, limit: int
) -> tuple[Sequence[UsedStorage], int]:
    """Repos of an owner by id, from beyond ``after``, and the bytes of all of them together.

    As of the last time that each was indexed.
    """
    rows = session.execute(
        select(Repo, RepoCard.used_nbytes)
        .outerjoin(RepoCard, RepoCard.repo_id == Repo.id)
        .where(Repo.namespace_id == owner.id, Repo.id > after)
        .order_by(Repo.id)
        .limit(limit)
    )
    used = [UsedStorage(repo, nbytes or 0) for repo, nbytes in rows]
    total = session.scalar(
        select(func.sum(RepoCard.used_nbytes))
        .join(Repo, Repo.id == RepoCard.repo_id)
        .where(Repo.namespace_id == owner.id)
    )
    return used, int(total or 0)
