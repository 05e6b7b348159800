"""Reading directories: one entry, many entries, a page of a listing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.git_objects import DIRECTORY_MODE
from app.db.tables import File, TreeEntry

BATCH = 1_000
"""Names per IN list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory at its path."""

    path: str
    mode: str
    oid: str
    """Git id of the subtree or blob; of the pointer, for an LFS file."""
    file_id: int | None
    nbytes: int
    """Logical size; 0 for directories."""
    is_lfs: bool
    sha256: bytes | None
    """Of the file's bytes; None for directories."""

    @property
    def is_directory(self) -> bool:
        """Whether other entries lie below this one."""
        return self.mode == DIRECTORY_MODE

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in path order. ``cursor`` is the path to continue after; None: that was all."""

    entries: list[Entry]
    cursor: str | None


def find_entry(session: Session, repo_id: int, tree: str, path: str) -> Entry | None:
    """The entry at ``path`` below the root tree ``tree``; None if there is none."""
    return find_entries(session, repo_id, tree, [path]).get(path)


def find_entries(
    session: Session, repo_id: int, tree: str, paths: Iterable[str]
) -> dict[str, Entry]:
    """Those of ``paths`` that exist, each directory on the way read once."""
    asked = set(paths)
    wanted: dict[str, set[str]] = {}
    for path in asked:
        parts = path.split("/")
        for depth, name in enumerate(parts):
            wanted.setdefault("/".join(parts[:depth]), set()).add(name)
    found: dict[str, Entry] = {}
    trees = {"": tree}
    for directory in sorted(wanted, key=lambda path: path.count("/") + bool(path)):
        oid = trees.get(directory)
        if oid is None:
            continue
        for entry in _entries(session, repo_id, oid, directory, sorted(wanted[directory])):
            if entry.path in asked:
                found[entry.path] = entry
            if entry.is_directory:
                trees[entry.path] = entry.oid
    return found


def list_tree(
    session: Session,
    repo_id: int,
    tree: str,
    *,
    prefix: str = "",
    recursive: bool = False,
    after: str | None = None,
    limit: int | None = None,
) -> Page:
    """Entries of a directory in path order, from just after the path ``after``.

    ``tree`` is the directory's own id and ``prefix`` its path. Recursive listings hold a directory
    before what lies in it.
    """
    skip = _relative_parts(after, prefix)
    found: list[Entry] = []
    for entry in _walk(session, repo_id, tree, prefix, skip, recursive=recursive):
        if limit is not None and len(found) == limit:
            return Page(found, cursor=found[-1].path)
        found.append(entry)
    return Page(found, cursor=None)


def list_files(session: Session, repo_id: int, tree: str) -> list[Entry]:
    """All files below a root tree, in path order."""
    page = list_tree(session, repo_id, tree, recursive=True)
    return [entry for entry in page.entries if not entry.is_directory]


def _walk(
    session: Session,
    repo_id: int,
    tree: str,
    prefix: str,
    skip: Sequence[str],
    *,
    recursive: bool,
) -> Iterator[Entry]:
    """Entries after the one at ``skip`` (parts of a path relative to ``prefix``)."""
    for entry in _entries(session, repo_id, tree, prefix):
        seen = bool(skip) and entry.name <= skip[0]
        inside = bool(skip) and entry.name == skip[0]
        if not seen:
            yield entry
        if recursive and entry.is_directory and (inside or not seen):
            deeper = skip[1:] if inside else ()
            yield from _walk(session, repo_id, entry.oid, entry.path, deeper, recursive=True)


def _entries(
    session: Session, repo_id: int, tree: str, prefix: str, names: Sequence[str] | None = None
) -> list[Entry]:
    query = (
        select(TreeEntry, File.sha256)
        .outerjoin(File, File.id == TreeEntry.file_id)
        .where(TreeEntry.repo_id == repo_id, TreeEntry.tree_oid == tree)
    )
    batches = (
        [query]
        if names is None
        else [
            query.where(TreeEntry.name.in_(names[start : start + BATCH]))
            for start in range(0, len(names), BATCH)
        ]
    )
    rows = [row for batch in batches for row in session.execute(batch)]
    # Sorted here, not by the database: its collation may not be that of Python's strings.
    return [
        Entry(
            path=f"{prefix}/{row.name}" if prefix else row.name,
            mode=row.mode,
            oid=row.oid,
            file_id=row.file_id,
            nbytes=row.size,
            is_lfs=row.is_lfs,
            sha256=sha256,
        )
        for row, sha256 in sorted(rows, key=lambda pair: pair[0].name)
    ]


def _relative_parts(after: str | None, prefix: str) -> tuple[str, ...]:
    if not after:
        return ()
    return tuple(after.removeprefix(f"{prefix}/" if prefix else "").split("/"))
