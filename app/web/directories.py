"""A page of a directory, with what was found in its pickles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.api.hf.tree import directory_oid
from app.catalog.listing import Entry, list_tree
from app.catalog.scanning import load_scans
from app.db.tables import Commit
from app.formats.pickles import Scan

PER_PAGE = 200


@dataclass(frozen=True, slots=True)
class Directory:
    """Entries, directories first as far as the page goes; ``next_after``: where the next begins."""

    entries: Sequence[Entry]
    next_after: str | None
    scans: Mapping[int, Scan]


def read_directory(
    session: Session, commit: Commit, directory: str, *, after: str | None
) -> Directory:
    """The entries of a directory from just after the path ``after``. Raises EntryNotFound."""
    page = list_tree(
        session,
        commit.repo_id,
        directory_oid(session, commit, directory),
        prefix=directory,
        after=after,
        limit=PER_PAGE,
    )
    entries = sorted(page.entries, key=lambda entry: not entry.is_directory)
    scans = load_scans(session, [each.file_id for each in entries if each.file_id is not None])
    return Directory(entries, page.cursor, scans)
