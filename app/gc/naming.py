"""Where a file is to be seen: repositories and paths, for messages that people act on."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Account, Commit, Repo, Segment, TreeEntry

MOST = 8
"""Places named per file; more would not help."""


def places_of_file(session: Session, file_id: int) -> list[str]:
    """``type/namespace/name:path`` of a file, at most :data:`MOST`, sorted."""
    entries = session.execute(
        select(TreeEntry.repo_id, TreeEntry.tree_oid, TreeEntry.name)
        .where(TreeEntry.file_id == file_id)
        .limit(MOST)
    ).all()
    places: set[str] = set()
    for repo_id, tree_oid, name in entries:
        path = _path_of_tree(session, repo_id, tree_oid) + name
        places.add(f"{_repo_name(session, repo_id)}:{path}")
    return sorted(places)


def places_of_contents(session: Session, content_ids: Iterable[int]) -> list[str]:
    """Places of the files that hold some of the contents, sorted."""
    files = {file for content in content_ids for file in files_of_content(session, content)}
    return sorted({place for file in files for place in places_of_file(session, file)})


def files_of_content(session: Session, content_id: int) -> list[int]:
    """Files that hold a content, at most :data:`MOST`."""
    return list(
        session.scalars(
            select(Segment.file_id)
            .where(Segment.content_id == content_id)
            .distinct()
            .order_by(Segment.file_id)
            .limit(MOST)
        )
    )


def _path_of_tree(session: Session, repo_id: int, tree_oid: str) -> str:
    """One path that leads to a directory, with a slash at its end; empty for a root."""
    path = ""
    while not session.scalar(
        select(Commit.oid).where(Commit.repo_id == repo_id, Commit.tree_oid == tree_oid).limit(1)
    ):
        parent = session.execute(
            select(TreeEntry.tree_oid, TreeEntry.name)
            .where(
                TreeEntry.repo_id == repo_id,
                TreeEntry.oid == tree_oid,
                TreeEntry.file_id.is_(None),
            )
            .limit(1)
        ).first()
        if parent is None:
            break
        tree_oid, name = parent
        path = f"{name}/{path}"
    return path


def _repo_name(session: Session, repo_id: int) -> str:
    kind, namespace, name = session.execute(
        select(Repo.type, Account.name, Repo.name)
        .join(Account, Account.id == Repo.namespace_id)
        .where(Repo.id == repo_id)
    ).one()
    return f"{kind}/{namespace}/{name}"
