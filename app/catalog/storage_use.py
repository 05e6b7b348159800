"""What the repos of an owner take up."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.usage import measure_histories, read_histories
from app.db.tables import Account, Repo, RepoUsage


@dataclass(frozen=True, slots=True)
class UsedStorage:
    """A repo and the logical bytes of every version of every file, each once."""

    repo: Repo
    nbytes: int


def list_storage(
    session: Session, owner: Account, *, after: int, limit: int
) -> tuple[Sequence[UsedStorage], int]:
    """Repos of an owner by id, from beyond ``after``, and the bytes of all of them together."""
    of_owner = Repo.namespace_id == owner.id
    page = select(Repo).where(of_owner, Repo.id > after).order_by(Repo.id).limit(limit)
    repos = session.scalars(page).all()
    held = read_histories(session, [repo.id for repo in repos])
    kept = RepoUsage.history_nbytes
    of_repo = RepoUsage.repo_id == Repo.id
    total = session.scalar(select(func.sum(kept)).join(Repo, of_repo).where(of_owner))
    unknown = select(Repo.id).outerjoin(RepoUsage, of_repo).where(of_owner, kept.is_(None))
    counted = measure_histories(session, unknown)
    used = [UsedStorage(repo, held[repo.id]) for repo in repos]
    return used, int(total or 0) + sum(counted.values())
