"""Dropping history that no ref reaches, some time after it was cut off.

Trees hold files for ever; where a squash or the removal of a branch cuts commits off, their trees
must go before the bytes can. Readers who looked a commit up before the cut keep it for the grace
period (see :mod:`app.catalog.cuts`).
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.usage import mark_cut
from app.catalog.git_objects import DIRECTORY_MODE
from app.catalog.history import reached_from, whole_history
from app.catalog.indexing import owe_indexing
from app.db.inserting import batches
from app.db.tables import Commit, CutHistory, Ref, Repo, Tree, TreeEntry
from app.hub import Hub


def prune_cut_histories(hub: Hub, *, cut_before: datetime) -> int:
    """Drop what was cut off before an instant; returns the number of commits dropped."""
    with hub.db.read() as session:
        due = select(CutHistory.repo_id).where(CutHistory.cut_at <= cut_before)
        repo_ids = session.scalars(due.order_by(CutHistory.repo_id)).all()

    def prune(session: Session, repo_id: int) -> int:
        settled = delete(CutHistory).where(
            CutHistory.repo_id == repo_id, CutHistory.cut_at <= cut_before
        )
        if not session.execute(settled.returning(CutHistory.repo_id)).all():
            return 0
        dropped = prune_history(session, repo_id)
        owe_indexing(session, hub, repo_id)  # it uses less storage now
        return dropped

    return sum(hub.db.run(lambda session, each=each: prune(session, each)) for each in repo_ids)


def prune_history(session: Session, repo_id: int) -> int:
    """Drop commits and trees that no ref reaches, now; returns the number of commits."""
    # Writers hold the row: those before have ended, and those after see what is left.
    session.execute(select(Repo.id).where(Repo.id == repo_id).with_for_update())
    steps = whole_history(session, repo_id)
    heads = session.scalars(select(Ref.commit_oid).where(Ref.repo_id == repo_id)).all()
    kept = set(reached_from(steps, heads))
    trees = trees_below(session, repo_id, {steps[oid].tree_oid for oid in kept})
    all_trees = set(session.scalars(select(Tree.oid).where(Tree.repo_id == repo_id)))
    dropped = sorted(steps.keys() - kept)
    for oids in batches(dropped):
        session.execute(delete(Commit).where(Commit.repo_id == repo_id, Commit.oid.in_(oids)))
    if all_trees - trees:
        mark_cut(session, repo_id)
    for oids in batches(sorted(all_trees - trees)):
        session.execute(
            delete(TreeEntry).where(TreeEntry.repo_id == repo_id, TreeEntry.tree_oid.in_(oids))
        )
        session.execute(delete(Tree).where(Tree.repo_id == repo_id, Tree.oid.in_(oids)))
    return len(dropped)


def subdirectories(session: Session, repo_id: int) -> dict[str, list[tuple[str, str]]]:
    """Directory id -> (name, id) of the directories right in it, over the whole history."""
    below: dict[str, list[tuple[str, str]]] = {}
    rows = session.execute(
        select(TreeEntry.tree_oid, TreeEntry.name, TreeEntry.oid).where(
            TreeEntry.repo_id == repo_id, TreeEntry.mode == DIRECTORY_MODE
        )
    )
    for tree_oid, name, oid in rows:
        below.setdefault(tree_oid, []).append((name, oid))
    return below


def trees_below(session: Session, repo_id: int, roots: Iterable[str]) -> set[str]:
    """Ids of these directories and of all in them."""
    below = subdirectories(session, repo_id)
    seen = set(roots)
    open_ends = list(seen)
    while open_ends:
        for _, oid in below.get(open_ends.pop(), ()):
            if oid not in seen:
                seen.add(oid)
                open_ends.append(oid)
    return seen
