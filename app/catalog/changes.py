"""What differs between two trees, file by file; directories of the same id are not looked into."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.catalog.listing import Entry, list_tree


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path that holds another file, a new one or none any more."""

    path: str
    old: Entry | None
    new: Entry | None


def changed_files(
    session: Session, repo_id: int, old: str | None, new: str | None, prefix: str = ""
) -> Iterator[FileChange]:
    """Files that differ between two directories, by path; None stands for an empty one."""
    if old == new:
        return
    before = _entries(session, repo_id, old, prefix)
    after = _entries(session, repo_id, new, prefix)
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if same_entry(one, other):
            continue
        old_file, new_file = _as_file(one), _as_file(other)
        if old_file is not None or new_file is not None:
            yield FileChange(path, old_file, new_file)
        yield from changed_files(session, repo_id, _as_tree(one), _as_tree(other), path)


def same_entry(one: Entry | None, other: Entry | None) -> bool:
    """Whether two entries are the same to git: same mode and content, or both absent."""
    if one is None or other is None:
        return one is other
    return (one.mode, one.oid) == (other.mode, other.oid)


def _entries(session: Session, repo_id: int, tree: str | None, prefix: str) -> dict[str, Entry]:
    if tree is None:
        return {}
    return {entry.path: entry for entry in list_tree(session, repo_id, tree, prefix=prefix).entries}


def _as_file(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.is_directory else entry


def _as_tree(entry: Entry | None) -> str | None:
    return entry.oid if entry is not None and entry.is_directory else None
