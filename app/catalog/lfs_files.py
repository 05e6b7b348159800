"""The big files of a repo over its whole history: listed, or taken out of it for good."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.ancestry import Step
from app.catalog.history import reached_from, whole_history
from app.catalog.pruning import subdirectories
from app.db.tables import File, Ref, Repo, TreeEntry

MOST = 1_000
"""Files on one page."""


@dataclass(frozen=True, slots=True)
class LfsFile:
    """A big file and how it came into the repo."""

    file_id: int
    sha256: bytes
    pointer_oid: str
    """Git id of the pointer."""
    path: str
    nbytes: int
    pushed_at: datetime
    ref: str | None
    """Full name of a ref that reaches the commit that brought it, the default branch first."""


def list_lfs_files(
    session: Session, repo: Repo, default_ref: str, *, after: int = 0, limit: int = MOST
) -> tuple[list[LfsFile], int | None]:
    """A page of the big files that history holds, and the file id to continue after.

    The work is bounded by the history of this repo, which is walked once.
    """
    holds = (TreeEntry.repo_id == repo.id, TreeEntry.is_lfs.is_(True), TreeEntry.file_id > after)
    page = select(TreeEntry.file_id).where(*holds).distinct().order_by(TreeEntry.file_id)
    ids = session.scalars(page.limit(limit + 1)).all()
    more, ids = len(ids) > limit, ids[:limit]
    arrivals = _Arrivals(session, repo, default_ref)
    entries = session.execute(
        select(TreeEntry.tree_oid, TreeEntry.name, TreeEntry.oid, TreeEntry.size, File)
        .join(File, File.id == TreeEntry.file_id)
        .where(*holds, TreeEntry.file_id <= (ids[-1] if ids else after))
    )
    found: dict[int, LfsFile] = {}
    for tree_oid, name, oid, nbytes, file in entries:
        arrival = arrivals.of(tree_oid)
        if arrival is None:
            continue  # cut off, and about to be dropped
        commit, directory = arrival
        known = found.get(file.id)
        if known is None or commit.created_at < known.pushed_at:
            ref = arrivals.ref_of(commit.oid)
            found[file.id] = LfsFile(
                file.id, file.sha256, oid, directory + name, nbytes, commit.created_at, ref
            )
    return [found[each] for each in sorted(found)], (ids[-1] if more and ids else None)


class _Arrivals:
    """Where each directory of a repo first appeared: the earliest commit, and the path."""

    def __init__(self, session: Session, repo: Repo, default_ref: str) -> None:
        steps = whole_history(session, repo.id)
        refs = session.execute(select(Ref.name, Ref.commit_oid).where(Ref.repo_id == repo.id)).all()
        self._refs: dict[str, str] = {}
        for name, head in sorted(refs, key=lambda ref: (ref.name != default_ref, ref.name)):
            for oid in reached_from(steps, [head], without=self._refs):
                self._refs[oid] = name
        self._seen: dict[str, tuple[Step, str]] = {}
        below = subdirectories(session, repo.id)
        # Stable: of commits of one instant, parents come first.
        for step in sorted((steps[oid] for oid in self._refs), key=lambda each: each.created_at):
            self._enter(step, below)

    def of(self, tree_oid: str) -> tuple[Step, str] | None:
        """Earliest commit with this directory and the directory's path, "" or ending in a slash."""
        return self._seen.get(tree_oid)

    def ref_of(self, commit_oid: str) -> str | None:
        """A ref that reaches a commit."""
        return self._refs.get(commit_oid)

    def _enter(self, step: Step, below: dict[str, list[tuple[str, str]]]) -> None:
        open_ends = [(step.tree_oid, "")]
        while open_ends:
            tree_oid, path = open_ends.pop()
            if tree_oid in self._seen:
                continue
            self._seen[tree_oid] = (step, path)
            open_ends += [(oid, f"{path}{name}/") for name, oid in below.get(tree_oid, ())]
