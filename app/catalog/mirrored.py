"""What the catalog knows of mirrors: which repo is one, and which files of it are awaited."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.catalog.git_objects import DIRECTORY_MODE
from app.db.tables import AwaitedFile, MirroredRepo, Repo, TreeEntry
from app.errors import Conflict, ReadOnlyRepo


def awaited_clause() -> ColumnElement[bool]:
    """SQL condition that joins a tree entry with the awaited file that it names."""
    awaited, entry = AwaitedFile.__table__.c, TreeEntry.__table__.c
    return (awaited.repo_id == entry.repo_id) & (awaited.oid == entry.oid) & entry.file_id.is_(None)


def find_mirrored(session: Session, repo_id: int) -> MirroredRepo | None:
    """What a repo is a copy of; None for a repo of this hub's own."""
    return session.get(MirroredRepo, repo_id)


def check_not_mirrored(session: Session, repo: Repo) -> None:
    """Raise ReadOnlyRepo for a mirror."""
    mirrored = find_mirrored(session, repo.id)
    if mirrored is not None:
        raise ReadOnlyRepo(
            f"this repository mirrors {mirrored.url} and is read-only here: make the change there,"
            " or duplicate it under a name of your own"
        )


def check_whole(session: Session, repo: Repo) -> None:
    """Raise Conflict while bytes of a mirrored repo's files are awaited."""
    awaited = select(TreeEntry.oid).where(
        TreeEntry.repo_id == repo.id,
        TreeEntry.file_id.is_(None),
        TreeEntry.mode != DIRECTORY_MODE,
    )
    if session.scalar(awaited.limit(1)) is not None:
        raise Conflict(
            "files of this mirror were not fetched yet; an administrator fetches them by: clade"
            " mirror pull"
        )
