"""Squashing: a branch becomes one commit that holds what its head held."""

from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.catalog.commits import check_message, lock_branch, record_commit
from app.catalog.cuts import hold_history, owe_pruning
from app.catalog.indexing import owe_indexing
from app.catalog.ref_names import TAG, check_ref_name
from app.db.tables import Commit, Repo
from app.errors import InvalidRequest
from app.hub import Hub


def squash(hub: Hub, principal: Principal, repo: Repo, ref: str, title: str) -> Commit:
    """Replace the history of the branch ``ref`` (full name) by a single commit without parent.

    Commits that no other ref reaches are dropped after a grace period, and with them the bytes that
    only they held. Raises RevisionNotFound, InvalidRequest for a tag or an empty title.
    """
    check_ref_name(ref)
    if ref.startswith(TAG):
        raise InvalidRequest(f"Invalid reference for a branch: {ref[:120]}")
    check_message(hub, title, "")

    def work(session: Session) -> Commit:
        branch = lock_branch(session, repo, ref)
        hold_history(session, repo.id)
        head = session.get_one(Commit, (repo.id, branch.commit_oid))
        commit = record_commit(session, hub, repo, principal, head.tree_oid, None, title, "")
        branch.commit_oid = commit.oid
        session.flush()
        owe_pruning(session, hub, repo.id)
        owe_indexing(session, hub, repo.id)
        note(session, hub, "ref.squash", repo.key, ref)
        return commit

    return hub.db.run(work)
