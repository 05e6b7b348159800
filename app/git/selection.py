"""Which objects a fetch carries: every new commit, and the trees and blobs that came with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalog.git_objects import DIRECTORY_MODE, lfs_pointer
from app.catalog.mirrored import awaited_clause
from app.db.inserting import batches
from app.db.tables import AwaitedFile, File, TreeEntry
from app.git.filters import EVERYTHING, ObjectFilter
from app.git.history import History, Missing

TREES_AT_ONCE = 200
"""Directories read in one query."""


class Blob(NamedTuple):
    """Where a blob's bytes come from."""

    oid: str
    file_id: int | None
    """None for a directory, and for a big file whose bytes a mirror awaits."""
    nbytes: int
    """Of the file."""
    sha256: bytes | None
    """Of the file behind a pointer; None for a file that is the blob itself."""

    @property
    def git_nbytes(self) -> int:
        """Of the blob itself."""
        return self.nbytes if self.sha256 is None else len(lfs_pointer(self.sha256, self.nbytes))


@dataclass(slots=True)
class Selection:
    """Ids of the objects to send, and how to make them."""

    commits: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    trees: dict[str, None] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.commits) + len(self.tags) + len(self.trees) + len(self.blobs)


def select_objects(
    session: Session,
    repo_id: int,
    history: History,
    missing: Missing,
    *,
    trees: Iterable[str] = (),
    blobs: Iterable[Blob] = (),
    within: ObjectFilter = EVERYTHING,
) -> Selection:
    """What the missing commits hold and their boundary does not, as far as the filter takes it.

    ``trees`` and ``blobs`` were asked for by their ids: they are sent whatever the filter says, and
    whoever asks lacks them whatever else he has.
    """
    there = walk_trees(session, repo_id, history.trees_of(missing.boundary), Selection())
    chosen = Selection(missing.commits, missing.tags)
    chosen.trees.update(dict.fromkeys(trees))
    chosen.blobs.update({blob.oid: blob for blob in blobs})
    roots = history.trees_of(missing.commits)
    return walk_trees(session, repo_id, roots, chosen, without=there, within=within)


def walk_trees(
    session: Session,
    repo_id: int,
    roots: Iterable[str],
    into: Selection,
    *,
    without: Selection | None = None,
    within: ObjectFilter = EVERYTHING,
) -> Selection:
    """Note all directories and files below ``roots``, and below those noted already, each once."""
    without = without or Selection()
    depth = 0

    def is_new(oid: str) -> bool:
        if oid in without.trees or oid in into.trees or not within.takes_tree(depth):
            return False
        into.trees[oid] = None
        return True

    level = [*into.trees, *(oid for oid in roots if is_new(oid))]
    while level:
        depth += 1
        below: list[str] = []
        for mode, blob in _entries(session, repo_id, level if within.takes_tree(depth) else []):
            if mode == DIRECTORY_MODE:
                if is_new(blob.oid):
                    below.append(blob.oid)
            elif blob.oid not in without.blobs and within.takes_blob(depth, blob.git_nbytes):
                into.blobs.setdefault(blob.oid, blob)
        level = below
    return into


def _entries(session: Session, repo_id: int, trees: list[str]) -> Iterator[tuple[str, Blob]]:
    for some in batches(trees, TREES_AT_ONCE):
        rows = session.execute(
            select(
                TreeEntry.mode,
                TreeEntry.oid,
                TreeEntry.file_id,
                TreeEntry.size,
                TreeEntry.is_lfs,
                func.coalesce(File.sha256, AwaitedFile.sha256),
            )
            .outerjoin(File, (File.id == TreeEntry.file_id) & TreeEntry.is_lfs)
            .outerjoin(AwaitedFile, awaited_clause())
            .where(TreeEntry.repo_id == repo_id, TreeEntry.tree_oid.in_(some))
        )
        for mode, oid, file_id, nbytes, is_lfs, sha256 in rows:
            yield mode, Blob(oid, file_id, nbytes, sha256 if is_lfs else None)
