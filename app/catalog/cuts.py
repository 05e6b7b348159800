"""What keeps history whole while some of it is dropped: a hold for writers, a note of each cut.

Whoever writes history holds the repo's row while he links to trees that exist, so that none is
dropped from under him (:mod:`app.catalog.pruning`).
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.inserting import upsert
from app.db.tables import CutHistory, Repo
from app.errors import RepoNotFound
from app.hub import Hub


def hold_history(session: Session, repo_id: int) -> None:
    """No tree or commit of the repo is dropped until this transaction ends. Raises RepoNotFound.

    Take it after the ref and before looking at trees.
    """
    held = select(Repo.id).where(Repo.id == repo_id).with_for_update(read=True, key_share=True)
    if session.scalar(held) is None:
        raise RepoNotFound("Repository not found")


def owe_pruning(session: Session, hub: Hub, repo_id: int) -> None:
    """Something was cut off now: garbage collection shall drop it after the grace period."""
    row = {"repo_id": repo_id, "cut_at": hub.clock.now()}
    session.execute(
        upsert(session, CutHistory)
        .values(row)
        .on_conflict_do_update(index_elements=[CutHistory.repo_id], set_={"cut_at": row["cut_at"]})
    )
