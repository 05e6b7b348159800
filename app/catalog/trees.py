"""Writing directories: copy-on-write, one row set per directory, shared between commits.

A change rewrites the directories on its way to the root and nothing else, as git does, so history
costs what changed and not what exists.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts.usage import count_entering
from app.catalog.git_objects import (
    DIRECTORY_MODE,
    EXECUTABLE_MODE,
    FILE_MODE,
    GitEntry,
    tree_oid,
)
from app.catalog.paths import twin_key
from app.db.inserting import insert_if_absent
from app.db.tables import Tree, TreeEntry
from app.errors import EntryNotFound, InvalidPath

INSERT_BATCH = 2_000
"""Rows per INSERT: both databases bound the number of parameters."""

Columns = dict[str, str | int | bool | None]
"""A row of ``tree_entry`` without its key."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """What a path shall hold from now on."""

    oid: str
    """Git id of the bytes, or of the LFS pointer."""
    file_id: int
    nbytes: int
    is_lfs: bool
    mode: str = FILE_MODE


@dataclass(slots=True)
class _Change:
    """What happens to one name: a new file, removal, or changes below it."""

    put: NewFile | None = None
    removed: bool = False
    """What was there goes first; with ``folder`` that must be a directory."""
    folder: bool = False
    path: str = ""
    below: dict[str, "_Change"] = field(default_factory=dict)


class TreeChanges:
    """Puts and removals of one commit, in the order asked for; the later one wins."""

    def __init__(self) -> None:
        self._root = _Change()

    def put(self, path: str, file: NewFile) -> None:
        """Add or replace a file."""
        change = self._at(path)
        change.put, change.path = file, path

    def remove(self, path: str, *, folder: bool) -> None:
        """Remove a file, or a directory with all that is in it; ``folder``: nothing else."""
        change = self._at(path)
        change.put, change.below = None, {}
        change.removed, change.folder, change.path = True, folder, path

    def apply(self, session: Session, repo_id: int, root: str | None) -> str:
        """Write the directories that change; returns the new root's id.

        ``root`` is the tree to start from, None for an empty one. Raises EntryNotFound if something
        to remove is not there, InvalidPath if a name would be a file and a directory at once or a
        twin of another name.
        """
        return _rewrite(session, repo_id, root, self._root, "") or store_directory(
            session, repo_id, {}
        )

    def _at(self, path: str) -> _Change:
        change = self._root
        for part in path.split("/"):
            change = change.below.setdefault(part, _Change())
        return change


def _rewrite(
    session: Session, repo_id: int, tree: str | None, change: _Change, prefix: str
) -> str | None:
    """The directory after ``change``; None if nothing is left in it."""
    entries = {} if tree is None else load_directory(session, repo_id, tree)
    before = frozenset(entries)
    for name, inner in change.below.items():
        path = f"{prefix}{name}"
        if inner.removed:
            _check_removal(entries.get(name), inner)
            entries.pop(name, None)
        if inner.put is not None and any(map(_puts, inner.below.values())):
            raise InvalidPath(f"{path}: is a file and a directory at once")
        # Removals below come first: they may leave no directory where a file is put.
        if inner.below:
            _put_directory(session, repo_id, entries, name, inner, path)
        if inner.put is not None:
            _put_file(entries, name, inner.put, path)
    _refuse_twins(entries, frozenset(entries) - before, prefix)
    return store_directory(session, repo_id, entries) if entries else None


def load_directory(session: Session, repo_id: int, tree: str) -> dict[str, Columns]:
    """Name -> columns of every entry of a directory."""
    rows = session.execute(
        select(
            TreeEntry.name,
            TreeEntry.mode,
            TreeEntry.oid,
            TreeEntry.file_id,
            TreeEntry.size,
            TreeEntry.is_lfs,
        ).where(TreeEntry.repo_id == repo_id, TreeEntry.tree_oid == tree)
    )
    return {row.name: dict(row._mapping) for row in rows}


def _check_removal(entry: Columns | None, change: _Change) -> None:
    is_directory = entry is not None and entry["mode"] == DIRECTORY_MODE
    if entry is None or (change.folder and not is_directory):
        what = "folder" if change.folder else "file"
        raise EntryNotFound(f"A {what} with this name doesn't exist: {change.path}")


def _put_file(entries: dict[str, Columns], name: str, file: NewFile, path: str) -> None:
    old = entries.get(name)
    if old is not None and old["mode"] == DIRECTORY_MODE:
        raise InvalidPath(f"{path}: is a directory; delete it first")
    entries[name] = {
        "name": name,
        # A symbolic link does not survive: what is put there are bytes, not a target.
        "mode": old["mode"] if old is not None and old["mode"] == EXECUTABLE_MODE else file.mode,
        "oid": file.oid,
        "file_id": file.file_id,
        "size": file.nbytes,
        "is_lfs": file.is_lfs,
    }


def _put_directory(
    session: Session,
    repo_id: int,
    entries: dict[str, Columns],
    name: str,
    change: _Change,
    path: str,
) -> None:
    old = entries.get(name)
    if old is not None and old["mode"] != DIRECTORY_MODE:
        if any(_puts(inner) for inner in change.below.values()):
            raise InvalidPath(f"{path}: is a file; delete it first")
        raise EntryNotFound(f"A file with this name doesn't exist: {path}/...")
    oid = _rewrite(session, repo_id, None if old is None else str(old["oid"]), change, f"{path}/")
    if oid is None:
        entries.pop(name, None)
    else:
        entries[name] = {
            "name": name,
            "mode": DIRECTORY_MODE,
            "oid": oid,
            "file_id": None,
            "size": 0,
            "is_lfs": False,
        }


def _puts(change: _Change) -> bool:
    return change.put is not None or any(_puts(inner) for inner in change.below.values())


def _refuse_twins(entries: Mapping[str, Columns], added: Iterable[str], prefix: str) -> None:
    """Names already in history stay; a new one must not alias another on anybody's disk."""
    added = set(added)
    if not added:
        return
    seen: dict[str, str] = {}
    for name in sorted(entries, key=lambda name: name in added):
        other = seen.setdefault(twin_key(name), name)
        if other != name and name in added:
            raise InvalidPath(
                f"{prefix + name!a}: differs from {prefix + other!a} only in case or Unicode form"
            )


def store_directory(session: Session, repo_id: int, entries: Mapping[str, Columns]) -> str:
    """Write a directory unless it is there; returns its id."""
    oid = tree_oid(
        GitEntry(name, str(columns["mode"]), str(columns["oid"]))
        for name, columns in entries.items()
    )
    if insert_if_absent(session, Tree, {"repo_id": repo_id, "oid": oid}):
        rows = [{**columns, "repo_id": repo_id, "tree_oid": oid} for columns in entries.values()]
        count_entering(session, repo_id, (row["file_id"] for row in rows))
        for start in range(0, len(rows), INSERT_BATCH):
            session.execute(insert(TreeEntry), rows[start : start + INSERT_BATCH])
    return oid
