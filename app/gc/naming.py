"""Where a file is to be seen: repository, revision and path, for messages that people act on."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Account, Commit, Encoding, Ref, Repo, Segment, TreeEntry

MOST = 8
"""Places named per file; more would not help."""

HEADS = "refs/heads/"


def places_of_file(session: Session, file_id: int) -> list[str]:
    """``type/namespace/name@revision:path`` of a file, at most :data:`MOST`, sorted.

    The revision is a branch whose head shows the file, else a commit that does.
    """
    entries = session.execute(
        select(TreeEntry.repo_id, TreeEntry.tree_oid, TreeEntry.name)
        .where(TreeEntry.file_id == file_id)
        .order_by(TreeEntry.repo_id, TreeEntry.tree_oid, TreeEntry.name)
        .limit(MOST)
    ).all()
    places: set[str] = set()
    for repo_id, tree_oid, name in entries:
        root, path = _root_of_tree(session, repo_id, tree_oid)
        revision = _revision_of_root(session, repo_id, root)
        places.add(f"{_repo_name(session, repo_id)}@{revision}:{path}{name}")
    return sorted(places)


def places_of_contents(session: Session, content_ids: Iterable[int]) -> list[str]:
    """Places of the files that hold some of the contents, sorted."""
    files = {file for content in content_ids for file in files_of_content(session, content)}
    return sorted({place for file in files for place in places_of_file(session, file)})


def places_of_dependents(session: Session, content_id: int) -> list[str]:
    """Places of the files that hold a delta against a content, sorted."""
    deltas = session.scalars(
        select(Encoding.content_id)
        .where(Encoding.base_id == content_id)
        .order_by(Encoding.content_id)
        .limit(MOST)
    ).all()
    return places_of_contents(session, deltas)


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


def _root_of_tree(session: Session, repo_id: int, tree_oid: str) -> tuple[str, str]:
    """A root tree that leads to a directory, and the path to there with a slash at its end."""
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
    return tree_oid, path


def _revision_of_root(session: Session, repo_id: int, tree_oid: str) -> str:
    showing = (Commit.repo_id == repo_id, Commit.tree_oid == tree_oid)
    head = session.scalar(
        select(Ref.name)
        .join(Commit, (Commit.repo_id == Ref.repo_id) & (Commit.oid == Ref.commit_oid))
        .where(*showing, Ref.name.startswith(HEADS, autoescape=True))
        .order_by(Ref.name)
        .limit(1)
    )
    if head is not None:
        return head.removeprefix(HEADS)
    latest = select(Commit.oid).where(*showing).order_by(Commit.created_at.desc()).limit(1)
    return (session.scalar(latest) or "?")[:7]


def _repo_name(session: Session, repo_id: int) -> str:
    kind, namespace, name = session.execute(
        select(Repo.type, Account.name, Repo.name)
        .join(Account, Account.id == Repo.namespace_id)
        .where(Repo.id == repo_id)
    ).one()
    return f"{kind}/{namespace}/{name}"
