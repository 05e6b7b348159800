"""What may be taken out of a repo, and which of its files would go with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.ancestry import Step
from app.catalog.history import reached_from, whole_history
from app.catalog.listing import find_entry
from app.catalog.pruning import trees_below
from app.catalog.refs import BRANCH, TAG, branch_ref, list_refs, resolve_revision
from app.db.tables import Commit, Ref, Repo, TreeEntry
from app.errors import EntryNotFound, InvalidRequest, RevisionNotFound
from app.hub import Hub

Kind = Literal["repo", "ref", "squash", "file"]


@dataclass(frozen=True, slots=True)
class Removal:
    """The whole repo; a branch or tag; the history behind a branch; a file in all commits."""

    kind: Kind = "repo"
    name: str = ""
    """Of the ref or branch, or path of the file at the head of the default branch."""


@dataclass(frozen=True, slots=True)
class HeldFiles:
    """Ids of a repo's files, before and after a removal."""

    shown: frozenset[int]
    """What refs lead to now."""
    left: frozenset[int]
    """What they lead to afterwards."""
    cut: frozenset[int]
    """What no ref leads to any more: it waits for its grace period, and goes by itself."""

    @property
    def going(self) -> frozenset[int]:
        """What the removal takes away."""
        return self.shown - self.left


def held_files(session: Session, hub: Hub, repo: Repo, removal: Removal) -> HeldFiles:
    """Which files a repo holds, and would after a removal; its history is walked once.

    Raises RevisionNotFound, EntryNotFound, InvalidRequest for what cannot be removed.
    """
    steps = whole_history(session, repo.id)
    refs = list_refs(session, repo)
    shown = _trees(session, repo, steps, refs)
    trees_left = shown
    if removal.kind == "repo":
        trees_left = set()
    elif removal.kind in {"ref", "squash"}:
        gone = _find_ref(refs, removal, hub.settings.default_branch)
        trees_left = _trees(session, repo, steps, [ref for ref in refs if ref is not gone])
        if removal.kind == "squash":
            head = session.get_one(Commit, (repo.id, gone.commit_oid))
            trees_left |= trees_below(session, repo.id, [head.tree_oid])
    files = _Files(session, repo.id)
    now, left = files.of(shown), files.of(trees_left)
    if removal.kind == "file":
        left -= {_find_file(session, hub, repo, removal.name)}
    return HeldFiles(frozenset(now), frozenset(left), frozenset(files.everything - now))


class _Files:
    """Which directories of a repo name which files."""

    def __init__(self, session: Session, repo_id: int) -> None:
        rows = select(TreeEntry.tree_oid, TreeEntry.file_id).where(TreeEntry.repo_id == repo_id)
        self._rows = [
            (tree, file_id) for tree, file_id in session.execute(rows) if file_id is not None
        ]
        self.everything = {file_id for _, file_id in self._rows}

    def of(self, trees: set[str]) -> set[int]:
        return {file_id for tree, file_id in self._rows if tree in trees}


def _trees(
    session: Session, repo: Repo, steps: Mapping[str, Step], refs: Iterable[Ref]
) -> set[str]:
    reached = reached_from(steps, [ref.commit_oid for ref in refs])
    return trees_below(session, repo.id, {steps[oid].tree_oid for oid in reached})


def _find_ref(refs: Iterable[Ref], removal: Removal, default_branch: str) -> Ref:
    named = {ref.name: ref for ref in refs}
    names = [branch_ref(removal.name)]
    if removal.kind == "ref":
        names += [TAG + removal.name]
        if names[0] == BRANCH + default_branch:
            raise InvalidRequest(f"{default_branch} is the default branch: it is not deleted alone")
    found = next((named[name] for name in names if name in named), None)
    if found is None:
        raise RevisionNotFound(f"Invalid rev id: {removal.name}")
    if removal.kind == "squash" and found.name.startswith(TAG):
        raise InvalidRequest(f"{removal.name} is a tag: branches are squashed")
    return found


def _find_file(session: Session, hub: Hub, repo: Repo, path: str) -> int:
    head = resolve_revision(session, repo, hub.settings.default_branch)
    entry = find_entry(session, repo.id, head.tree_oid, path)
    if entry is None or entry.file_id is None:
        raise EntryNotFound(f"there is no file {path} on {hub.settings.default_branch}")
    if not entry.is_lfs:
        raise InvalidRequest(f"{path} is a small file: only big ones are taken out of history")
    return entry.file_id
