"""Pull requests: commits on a ref of their own, ``refs/pr/N``, that ask to be put on a branch.

Whoever may read a repo's files may propose; the author and those who may write to the repo commit
to the ref as long as the pull request is neither closed nor merged. The ref keeps its commits alive
until somebody deletes it.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.permissions import can_propose, can_write
from app.accounts.tokens import Principal
from app.catalog.ancestry import Ancestry, is_ancestor
from app.catalog.commits import (
    append_commit,
    check_request,
    lock_branch,
)
from app.catalog.cuts import hold_history, owe_pruning
from app.catalog.discussions import (
    MAX_TITLE_LENGTH,
    add_comment,
    add_discussion,
    add_event,
    check_text,
    check_title,
    check_unfinished,
    find_moderated,
    pull_request_number,
    seen_text,
)
from app.catalog.mirrored import check_not_mirrored
from app.catalog.operations import Operation
from app.catalog.refs import BRANCH, PULL_REQUEST, find_commit
from app.catalog.retries import WINDOW, request_digest
from app.db.tables import Commit, Discussion, Ref, Repo
from app.errors import Conflict, Forbidden, RevisionNotFound, StaleParent
from app.hub import Hub


def check_push(session: Session, principal: Principal, repo: Repo, ref: str | None) -> None:
    """Raise Forbidden unless this principal may commit to a pull request's ref; None: to a new one.

    ReadOnlyRepo for a mirror, RevisionNotFound if there is no such pull request, Conflict if it is
    over.
    """
    check_not_mirrored(session, repo)
    if ref is None:
        if not can_propose(session, principal, repo):
            raise Forbidden("you may not open pull requests here: a token that writes is needed")
        return
    found = session.get(Discussion, (repo.id, pull_request_number(ref)))
    if found is None or found.target is None:
        raise RevisionNotFound(f"Invalid rev id: {ref}")
    is_author = found.author_id == principal.account_id and can_propose(session, principal, repo)
    if not is_author and not can_write(session, principal, repo):
        raise Forbidden(f"you may not commit to pull request #{found.number}")
    check_unfinished(found)


def open_draft(
    hub: Hub, principal: Principal, repo: Repo, title: str, description: str
) -> Discussion:
    """A pull request against the default branch, without commits so far.

    The right to propose is checked above. Raises InvalidRequest or LimitExceeded for the texts.
    """
    title = check_title(title)
    check_text(hub, description)
    target = BRANCH + hub.settings.default_branch

    def work(session: Session) -> Discussion:
        branch = lock_branch(session, repo, target)
        hold_history(session, repo.id)
        made = add_discussion(session, hub, principal, repo, title, status="draft", target=target)
        add_comment(session, hub, principal, made, description)
        _add_ref(session, made, branch.commit_oid)
        return made

    return hub.db.run(work)


def propose_commit(
    hub: Hub,
    principal: Principal,
    repo: Repo,
    target: str,
    operations: Sequence[Operation],
    *,
    title: str,
    message: str = "",
    parent: str | None = None,
    payload_digest: bytes | None = None,
) -> tuple[Commit, int]:
    """A commit on top of the branch ``target`` (full name), as a new pull request; its number.

    With ``parent``, on top of that commit, which must be one of the branch. A request repeated
    within some minutes finds the pull request that it made. The right to propose is checked above.
    Raises StaleParent and what :func:`app.catalog.commits.apply_commit` does.
    """
    check_request(hub, operations, title, message, parent)
    check_text(hub, message)
    if not target.startswith(BRANCH):
        raise RevisionNotFound(f"Invalid rev id: {target}: pull requests are made to branches")
    digest = payload_digest and request_digest(principal, f"{target} by proposal", payload_digest)

    def work(session: Session) -> tuple[Commit, int]:
        branch = lock_branch(session, repo, target)
        made = _made_before(session, hub, repo, digest) if digest is not None else None
        if made is not None:
            return made
        head = session.get_one(Commit, (repo.id, branch.commit_oid))
        start = head if parent is None else _start(session, repo, head, parent)
        commit = append_commit(
            session, hub, principal, repo, start, operations, title, message, digest
        )
        name = seen_text(title).strip()[:MAX_TITLE_LENGTH] or "Proposal"
        found = add_discussion(session, hub, principal, repo, name, status="open", target=target)
        add_comment(session, hub, principal, found, message)
        _add_ref(session, found, commit.oid)
        add_event(session, hub, principal, found, "commit", commit.title, commit.oid)
        return commit, found.number

    return hub.db.run(work)


def drop_commits(hub: Hub, principal: Principal, repo: Repo, ref: str) -> None:
    """Delete the ref of a pull request that is closed or merged, and so the commits only it has.

    Raises RevisionNotFound, Forbidden, Conflict for a pull request that is neither.
    """

    def work(session: Session) -> None:
        row = session.get(Ref, (repo.id, ref), with_for_update=True)
        if row is None:
            raise RevisionNotFound(f"Invalid rev id: {ref}")
        found = find_moderated(session, principal, repo, pull_request_number(ref))
        if found.status not in {"closed", "merged"}:
            raise Conflict(f"close pull request #{found.number} first")
        session.delete(row)
        session.flush()
        owe_pruning(session, hub, repo.id)
        note(session, hub, "ref.delete", repo.key, ref)

    hub.db.run(work)


def _add_ref(session: Session, found: Discussion, commit_oid: str) -> None:
    name = f"{PULL_REQUEST}{found.number}"
    session.add(Ref(repo_id=found.repo_id, name=name, commit_oid=commit_oid))
    session.flush()


def _start(session: Session, repo: Repo, head: Commit, parent: str) -> Commit:
    start = find_commit(session, repo, parent.lower())
    if start is not None and is_ancestor(Ancestry(session, repo.id), start.oid, [head.oid]):
        return start
    raise StaleParent(f"{parent[:40]} is no commit of the branch")


def _made_before(
    session: Session, hub: Hub, repo: Repo, digest: bytes
) -> tuple[Commit, int] | None:
    rows = session.execute(
        select(Ref.name, Commit)
        .join(Commit, (Commit.repo_id == Ref.repo_id) & (Commit.oid == Ref.commit_oid))
        .where(
            Ref.repo_id == repo.id,
            Ref.name.startswith(PULL_REQUEST),
            Commit.request_digest == digest,
            Commit.created_at >= hub.clock.now() - WINDOW,
        )
    )
    for name, commit in rows:
        number = pull_request_number(name)
        found = session.get(Discussion, (repo.id, number))
        if found is not None and found.status == "open":
            return commit, number
    return None
