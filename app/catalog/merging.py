"""Merging pull requests: what they change, put on top of their target as one commit.

Three-way by path: a file that the pull request changed must still be in the target as it was in the
last common commit, or be there as the pull request wants it; anything else is a conflict, and text
is never merged line by line.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.catalog.ancestry import Ancestry, between, latest_common
from app.catalog.changes import FileChange, changed_files, same_entry
from app.catalog.commits import lock_branch, move_branch, record_commit
from app.catalog.cuts import hold_history
from app.catalog.discussions import add_comment, add_event, check_text, find_discussion
from app.catalog.indexing import owe_indexing
from app.catalog.listing import find_entries
from app.catalog.refs import PULL_REQUEST
from app.catalog.trees import NewFile, TreeChanges
from app.db.tables import Commit, Discussion, Ref, Repo
from app.errors import Conflict, InvalidRequest, RevisionNotFound
from app.hub import Hub
from app.jobs.outbox import enqueue

SHOWN_PATHS = 20
LISTED_COMMITS = 100


def merge_pull_request(
    hub: Hub, principal: Principal, repo: Repo, number: int, text: str = ""
) -> Commit:
    """Put what a pull request changes on its target; the text, if any, is a comment.

    Write permission is checked above. Raises NotFound; InvalidRequest for a plain discussion;
    Conflict naming the paths that changed on both sides, or if there is nothing to merge, no common
    commit, or the pull request is a draft, closed or merged; RevisionNotFound without its target.
    """
    check_text(hub, text)

    def work(session: Session) -> Commit:
        target, proposed = _lock_refs(session, repo, number)
        found = find_discussion(session, repo, number, lock=True)
        if found.status != "open":
            raise Conflict(f"pull request #{number} is {_STATES[found.status]}")
        hold_history(session, repo.id)
        head = session.get_one(Commit, (repo.id, target.commit_oid))
        theirs = session.get_one(Commit, (repo.id, proposed.commit_oid))
        base = common_commit(session, repo, head.oid, theirs.oid)
        if base is None:
            raise Conflict(f"#{number} has no commit in common with {target.name}")
        tree = _merged_tree(session, repo, base, head, theirs)
        if tree == head.tree_oid:
            raise Conflict(f"#{number} changes nothing in {target.name}")
        title, message = f"{found.title} (#{number})", _message(session, principal, base, theirs)
        made = record_commit(session, hub, repo, principal, tree, head, title, message)
        move_branch(session, hub, target, made)
        found.status, found.merge_oid = "merged", made.oid
        note(session, hub, "repo.merge", repo.key, f"#{number} {made.oid}")
        add_comment(session, hub, principal, found, text)
        add_event(session, hub, principal, found, "status-change", "merged", made.oid)
        owe_indexing(session, hub, repo.id)
        if repo.type == "model":
            enqueue(session, hub, "family", key=f"repo:{repo.id}", payload={"repo_id": repo.id})
        return made

    return hub.db.run(work)


def find_conflicts(session: Session, repo: Repo, found: Discussion) -> list[str] | bool:
    """Paths that keep an unfinished pull request from being merged; True: no common commit."""
    head = _head(session, repo, found.target or "")
    theirs = _head(session, repo, f"{PULL_REQUEST}{found.number}")
    if found.status == "merged" or theirs is None:
        return []
    base = None if head is None else common_commit(session, repo, head.oid, theirs.oid)
    if head is None or base is None:
        return True
    changes = list(changed_files(session, repo.id, base.tree_oid, theirs.tree_oid))
    return _conflicts(session, base, head, changes)


def proposed_changes(session: Session, repo: Repo, found: Discussion) -> list[FileChange]:
    """What a pull request changes, against the last commit it has in common with its target."""
    theirs = _head(session, repo, f"{PULL_REQUEST}{found.number}")
    head = _head(session, repo, found.target or "")
    if theirs is None:
        return []
    base = None if head is None else common_commit(session, repo, head.oid, theirs.oid)
    return list(changed_files(session, repo.id, base.tree_oid if base else None, theirs.tree_oid))


def common_commit(session: Session, repo: Repo, one: str, other: str) -> Commit | None:
    """The latest commit that two have in their history."""
    found = latest_common(Ancestry(session, repo.id), one, other)
    return None if found is None else session.get_one(Commit, (repo.id, found.oid))


_STATES = {"draft": "a draft: open it first", "closed": "closed", "merged": "merged already"}


def _lock_refs(session: Session, repo: Repo, number: int) -> tuple[Ref, Ref]:
    """Refs before the thread, in the order of their names: refs/heads before refs/pr."""
    found = find_discussion(session, repo, number)
    if found.target is None:
        raise InvalidRequest(f"#{number} is a discussion, not a pull request")
    session.expire(found)
    target = lock_branch(session, repo, found.target)
    proposed = session.get(Ref, (repo.id, f"{PULL_REQUEST}{number}"), with_for_update=True)
    if proposed is None:
        raise RevisionNotFound(f"the commits of #{number} were deleted")
    return target, proposed


def _head(session: Session, repo: Repo, ref: str) -> Commit | None:
    row = session.get(Ref, (repo.id, ref))
    return None if row is None else session.get_one(Commit, (repo.id, row.commit_oid))


def _merged_tree(session: Session, repo: Repo, base: Commit, head: Commit, theirs: Commit) -> str:
    changes = list(changed_files(session, repo.id, base.tree_oid, theirs.tree_oid))
    conflicts = _conflicts(session, base, head, changes)
    if conflicts:
        more = len(conflicts) - SHOWN_PATHS
        shown = ", ".join(map(ascii, conflicts[:SHOWN_PATHS]))
        raise Conflict(
            f"changed on both sides: {shown}" + (f" and {more} more" if more > 0 else "")
        )
    there = find_entries(session, repo.id, head.tree_oid, [change.path for change in changes])
    merged = TreeChanges()
    for change in changes:
        old, new = there.get(change.path), change.new
        if same_entry(old, new):
            continue
        # A directory that becomes a file is emptied by changes of their own.
        if old and not old.is_directory and (new is None or old.mode != new.mode):
            merged.remove(change.path, folder=False)
        if new is not None:
            assert new.file_id is not None
            file = NewFile(new.oid, new.file_id, new.nbytes, is_lfs=new.is_lfs, mode=new.mode)
            merged.put(change.path, file)
    return merged.apply(session, repo.id, head.tree_oid)


def _conflicts(
    session: Session, base: Commit, head: Commit, changes: Iterable[FileChange]
) -> list[str]:
    """Paths of changes that do not fit the target's head."""
    by_path = {change.path: change for change in changes}
    added = [path for path, change in by_path.items() if change.new is not None]
    above = {above for path in added for above in _directories(path)}
    before = find_entries(session, base.repo_id, base.tree_oid, by_path.keys())
    there = find_entries(session, head.repo_id, head.tree_oid, by_path.keys() | above)

    def goes(path: str) -> bool:
        change = by_path.get(path)
        return change is not None and change.new is None and same_entry(there[path], change.old)

    blocked = {
        path for path in above if path in there and not there[path].is_directory and not goes(path)
    }
    return sorted(
        path
        for path, change in by_path.items()
        if not (
            same_entry(there.get(path), before.get(path)) or same_entry(there.get(path), change.new)
        )
        or (change.new is not None and not blocked.isdisjoint(_directories(path)))
    )


def _directories(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _message(session: Session, principal: Principal, base: Commit, theirs: Commit) -> str:
    """The commits that a merge stands for, and their authors, as the Hugging Face Hub writes it."""
    steps = between(Ancestry(session, theirs.repo_id), base.oid, theirs.oid)
    commits = [
        session.get_one(Commit, (theirs.repo_id, step.oid)) for step in steps[:LISTED_COMMITS]
    ]
    lines = [f"- {commit.title[:200]} ({commit.oid})" for commit in commits]
    others = dict.fromkeys(
        commit.author_name for commit in commits if commit.author_id != principal.account_id
    )
    lines += ["", *(f"Co-authored-by: {name} <{name}@users.noreply>" for name in others)]
    return "\n".join(lines).strip()
