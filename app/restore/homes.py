"""Where a content can be seen: the repos that show it, as far as a caller may know."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import open_repos_clause
from app.accounts.tokens import Principal
from app.db.tables import Account, Repo, Segment, TreeEntry

_BATCH = 1_000


class Home(NamedTuple):
    """A repo that holds a content."""

    repo_type: str
    repo_id: str
    """``namespace/name``."""


def hidden_contents(
    session: Session, content_ids: Collection[int], homes: Mapping[int, Home]
) -> set[int]:
    """Contents that repos hold, none of which the caller of :func:`find_homes` may read.

    What is stored against one of these must not show: how near it is tells of what it is.
    """
    ids = sorted(set(content_ids) - homes.keys())
    found: set[int] = set()
    for at in range(0, len(ids), _BATCH):
        held = (
            select(Segment.content_id)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .where(Segment.content_id.in_(ids[at : at + _BATCH]))
        )
        found.update(session.scalars(held.distinct()))
    return found


def find_homes(
    session: Session, principal: Principal | None, content_ids: Collection[int]
) -> dict[int, Home]:
    """One repo per content, the oldest that the principal may read.

    A content that is absent from the answer must not be named or handed out to this principal: it
    lies in private repos, or only in deltas against it.
    """
    ids = sorted(set(content_ids))
    oldest: dict[int, tuple[int, Home]] = {}
    for at in range(0, len(ids), _BATCH):
        rows = session.execute(
            select(Segment.content_id, Repo.id, Repo.type, Account.name, Repo.name)
            .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
            .join(Repo, Repo.id == TreeEntry.repo_id)
            .join(Account, Account.id == Repo.namespace_id)
            .where(Segment.content_id.in_(ids[at : at + _BATCH]), open_repos_clause(principal))
            .distinct()
        )
        for content_id, number, repo_type, namespace, name in rows:
            home = Home(repo_type, f"{namespace}/{name}")
            if content_id not in oldest or number < oldest[content_id][0]:
                oldest[content_id] = (number, home)
    return {content_id: home for content_id, (_, home) in oldest.items()}
