"""Who likes which repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.permissions import readable_repos_clause
from app.accounts.tokens import Principal
from app.catalog.repos import ListedRepo, lock_repo
from app.db.inserting import insert_if_absent
from app.db.tables import Account, Repo, RepoLike
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class LikedRepo:
    """A repo that somebody likes, and since when."""

    listed: ListedRepo
    since: datetime


def like(hub: Hub, principal: Principal, repo: Repo) -> None:
    """Like a repo; liking it twice is liking it once."""
    row = {
        "repo_id": repo.id,
        "account_id": principal.account_id,
        "created_at": hub.clock.now(),
    }

    def work(session: Session) -> None:
        locked = lock_repo(session, repo.id)
        if insert_if_absent(session, RepoLike, row):
            locked.likes += 1

    hub.db.run(work)


def unlike(hub: Hub, principal: Principal, repo: Repo) -> None:
    """Like a repo no more; not having liked it is no error."""

    def work(session: Session) -> None:
        locked = lock_repo(session, repo.id)
        gone = session.execute(
            delete(RepoLike)
            .where(RepoLike.repo_id == repo.id, RepoLike.account_id == principal.account_id)
            .returning(RepoLike.account_id)
        ).all()
        locked.likes -= len(gone)

    hub.db.run(work)


def list_likers(session: Session, repo: Repo, *, after: int, limit: int) -> Sequence[Account]:
    """Users who like a repo, by account id, from beyond ``after``."""
    return session.scalars(
        select(Account)
        .join(RepoLike, RepoLike.account_id == Account.id)
        .where(RepoLike.repo_id == repo.id, RepoLike.account_id > after)
        .order_by(RepoLike.account_id)
        .limit(limit)
    ).all()


def list_liked(
    session: Session, caller: Principal | None, account: Account, *, after: int, limit: int
) -> Sequence[LikedRepo]:
    """Repos that a user likes and that exist for the caller, by repo id, from beyond ``after``."""
    rows = session.execute(
        select(Repo, Account.name, RepoLike.created_at)
        .join(RepoLike, RepoLike.repo_id == Repo.id)
        .join(Account, Account.id == Repo.namespace_id)
        .where(
            RepoLike.account_id == account.id,
            RepoLike.repo_id > after,
            readable_repos_clause(caller),
        )
        .order_by(RepoLike.repo_id)
        .limit(limit)
    )
    return [LikedRepo(ListedRepo(repo, name), since) for repo, name, since in rows]
