"""Branches and tags: movable names for commits, and what a reader may write after ``@``."""

import re

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.catalog.cuts import owe_pruning
from app.catalog.ref_names import BRANCH, TAG, RefNames, check_ref_name
from app.db.inserting import insert_if_absent
from app.db.tables import Commit, Ref, Repo
from app.errors import Conflict, Forbidden, InvalidRequest, RevisionNotFound
from app.hub import Hub

HEAD = "HEAD"
PULL_REQUEST = "refs/pr/"
OID_LENGTH = 40
MIN_PREFIX_LENGTH = 7
"""Shortest abbreviation of a commit id that is looked up."""

_OID = re.compile(r"[0-9a-f]{7,40}")
_NAMED = (
    select(Ref.name, Commit)
    .join(Commit, (Commit.repo_id == Ref.repo_id) & (Commit.oid == Ref.commit_oid))
    .where(Ref.repo_id == bindparam("repo_id"), Ref.name.in_(bindparam("names", expanding=True)))
)

# What clients ask for once they know it.
_BY_OID = select(Commit).where(
    Commit.repo_id == bindparam("repo_id"), Commit.oid == bindparam("oid")
)


def revision_or_default(hub: Hub, revision: str | None) -> str:
    """What is asked for: the default branch, if it is nothing or, as git calls it, HEAD."""
    return hub.settings.default_branch if revision in {None, "", HEAD} else str(revision)


def resolve_revision(session: Session, repo: Repo, revision: str) -> Commit:
    """The commit that a branch, tag, full ref name, commit id or its unique prefix names.

    As in git a whole id wins over names: who pins a commit gets no other. Names win over prefixes,
    branches over tags. Raises RevisionNotFound.
    """
    if len(revision) == OID_LENGTH:
        commit = session.scalar(_BY_OID, {"repo_id": repo.id, "oid": revision})
        if commit is not None:
            return commit
    names = [revision] if revision.startswith("refs/") else []
    names += [BRANCH + revision, TAG + revision]
    rows = session.execute(_NAMED, {"repo_id": repo.id, "names": names}).all()
    if rows:
        return min(rows, key=lambda row: names.index(row.name)).Commit
    commit = find_commit(session, repo, revision.lower())
    if commit is None:
        raise RevisionNotFound(f"Invalid rev id: {revision}")
    return commit


def branch_ref(revision: str) -> str:
    """Full name of the ref that a commit to ``revision`` moves."""
    return revision if revision.startswith("refs/") else BRANCH + revision


def list_refs(session: Session, repo: Repo) -> list[Ref]:
    """All refs of a repo, by name."""
    return list(session.scalars(select(Ref).where(Ref.repo_id == repo.id).order_by(Ref.name)))


def create_branch(hub: Hub, repo: Repo, name: str, starting_point: str | None) -> None:
    """Make a branch at a revision (default: the default branch).

    Raises Conflict if it exists, RevisionNotFound, InvalidRequest for a name git would refuse or
    that reads like the full name of another ref.
    """
    if name.startswith("refs/"):
        raise InvalidRequest(f"Invalid reference for a branch: {name[:120]}")
    _create(hub, repo, BRANCH + name, starting_point)


def create_tag(hub: Hub, repo: Repo, name: str, revision: str) -> None:
    """Make a tag. Raises as :func:`create_branch` does."""
    _create(hub, repo, TAG + name, revision)


def delete_branch(hub: Hub, repo: Repo, name: str) -> None:
    """Remove a branch. Raises RevisionNotFound, Forbidden for the default branch.

    Commits of a pull request are deleted with it: :func:`app.catalog.proposals.drop_commits`.
    """
    if name == hub.settings.default_branch:
        raise Forbidden(f"Cannot delete {BRANCH}{name}: it is the default branch")
    _delete(hub, repo, BRANCH + name)


def delete_tag(hub: Hub, repo: Repo, name: str) -> None:
    """Remove a tag. Raises RevisionNotFound."""
    _delete(hub, repo, TAG + name)


def _create(hub: Hub, repo: Repo, name: str, revision: str | None) -> None:
    def work(session: Session) -> None:
        commit = resolve_revision(session, repo, revision_or_default(hub, revision))
        check_ref_name(name)
        if clashing := RefNames(session, repo.id).clashing(name):
            raise Conflict(f"Reference {name} cannot be made beside {clashing}")
        row = {"repo_id": repo.id, "name": name, "commit_oid": commit.oid}
        if not insert_if_absent(session, Ref, row):
            raise Conflict(f"Reference {name} already exists")
        note(session, hub, "ref.create", repo.key, name)

    hub.db.run(work)


def _delete(hub: Hub, repo: Repo, name: str) -> None:
    def work(session: Session) -> None:
        ref = session.get(Ref, (repo.id, name), with_for_update=True)
        if ref is None:
            raise RevisionNotFound(f"Invalid rev id: {name.removeprefix(BRANCH).removeprefix(TAG)}")
        session.delete(ref)
        session.flush()
        owe_pruning(session, hub, repo.id)
        note(session, hub, "ref.delete", repo.key, name)

    hub.db.run(work)


def find_commit(session: Session, repo: Repo, text: str) -> Commit | None:
    """The commit of this id, or the only one whose id begins so; seven digits at least."""
    if not _OID.fullmatch(text):
        return None
    if len(text) == OID_LENGTH:
        return session.get(Commit, (repo.id, text))
    # A range, not LIKE: it uses the primary key on both databases.
    matches = session.scalars(
        select(Commit)
        .where(Commit.repo_id == repo.id, Commit.oid >= text, Commit.oid <= text + "g")
        .limit(2)
    ).all()
    return matches[0] if len(matches) == 1 else None
