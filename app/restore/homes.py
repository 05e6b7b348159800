"""Where a content can be seen: the repos that show it, as far as a caller may know.

Asked in two steps, as a file has hundreds of contents and its repos hundreds of commits that name
it: which files consist of the contents, and which repos have these files, each once.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import open_repos_clause
from app.accounts.tokens import Principal
from app.db.inserting import batches
from app.db.tables import Account, Repo, Segment, TreeEntry


class Home(NamedTuple):
    """A repo that holds a content."""

    repo_type: str
    repo_id: str
    """``namespace/name``."""


def holders_of(
    session: Session,
    principal: Principal | None,
    content_ids: Iterable[int],
    *,
    besides: int | None = None,
) -> dict[int, list[Home]]:
    """The repos by content whose files the principal may read, in the order of their making.

    ``besides``: id of a repo that is not wanted. A content that is absent from the answer must not
    be named or handed out to this principal: it lies in private repos, or only in deltas.
    """
    files = _files_of(session, content_ids)
    found: dict[int, dict[int, Home]] = {}
    for some in batches(sorted(files)):
        shown = select(TreeEntry.file_id, TreeEntry.repo_id).where(TreeEntry.file_id.in_(some))
        if besides is not None:
            shown = shown.where(TreeEntry.repo_id != besides)
        each = shown.distinct().subquery()
        rows = session.execute(
            select(each.c.file_id, Repo.id, Repo.type, Account.name, Repo.name)
            .join(Repo, Repo.id == each.c.repo_id)
            .join(Account, Account.id == Repo.namespace_id)
            .where(open_repos_clause(principal))
        )
        for file_id, number, repo_type, namespace, name in rows:
            for content_id in files[file_id]:
                homes = found.setdefault(content_id, {})
                homes[number] = Home(repo_type, f"{namespace}/{name}")
    return {
        content_id: [homes[number] for number in sorted(homes)]
        for content_id, homes in found.items()
    }


def find_homes(
    session: Session, principal: Principal | None, content_ids: Iterable[int]
) -> dict[int, Home]:
    """One repo per content, the oldest of :func:`holders_of`."""
    holders = holders_of(session, principal, content_ids)
    return {content_id: homes[0] for content_id, homes in holders.items()}


def hidden_contents(
    session: Session, content_ids: Collection[int], homes: Mapping[int, Home]
) -> set[int]:
    """Contents that repos hold, none of which the caller of :func:`find_homes` may read.

    What is stored against one of these must not show: how near it is tells of what it is.
    """
    files = _files_of(session, set(content_ids) - homes.keys())
    return {
        content_id
        for some in batches(sorted(files))
        for file_id in session.scalars(
            select(TreeEntry.file_id).where(TreeEntry.file_id.in_(some)).distinct()
        )
        for content_id in files[file_id or 0]
    }


def _files_of(session: Session, content_ids: Iterable[int]) -> dict[int, set[int]]:
    """File id -> those of the contents that it consists of."""
    files: dict[int, set[int]] = {}
    for some in batches(sorted(set(content_ids))):
        rows = session.execute(
            select(Segment.file_id, Segment.content_id)
            .where(Segment.content_id.in_(some))
            .distinct()
        )
        for file_id, content_id in rows:
            files.setdefault(file_id, set()).add(content_id)
    return files
