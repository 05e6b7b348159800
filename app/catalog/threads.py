"""Reading discussions: a page of those of a repo, and one with all that happened in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.accounts.names import name_key
from app.accounts.permissions import readable_repos_clause
from app.accounts.tokens import Principal
from app.catalog.discussions import ThreadEvent, find_discussion
from app.db.tables import Account, Discussion, DiscussionEvent, Repo

Kind = Literal["all", "discussion", "pull_request"]
StatusFilter = Literal["all", "open", "closed", "draft", "merged"]

_STATUSES = {"open": ("open", "draft"), "closed": ("closed", "merged")}
"""What the clients mean by a status: a draft is open, a merged one closed."""


@dataclass(frozen=True, slots=True)
class ListedDiscussion:
    """A thread with its author, None if removed, and how many comments it has."""

    discussion: Discussion
    author: str | None
    comments: int


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread with all its events, oldest first."""

    discussion: Discussion
    author: str | None
    events: list[ThreadEvent]


def list_discussions(
    session: Session,
    repo: Repo,
    *,
    kind: Kind = "all",
    status: StatusFilter = "all",
    author: str | None = None,
    start: int = 0,
    limit: int,
) -> tuple[int, list[ListedDiscussion]]:
    """How many threads the filters leave, and those from the ``start``-th on, newest first."""
    wanted: list[ColumnElement[bool]] = [Discussion.repo_id == repo.id]
    if kind != "all":
        is_pull_request = Discussion.target.is_not(None)
        wanted.append(is_pull_request if kind == "pull_request" else ~is_pull_request)
    if status != "all":
        wanted.append(Discussion.status.in_(_STATUSES.get(status, (status,))))
    if author is not None:
        named = select(Account.id).where(Account.key == name_key(author))
        wanted.append(Discussion.author_id.in_(named))
    count = session.scalar(select(func.count()).select_from(Discussion).where(*wanted)) or 0
    comments = (
        select(func.count())
        .where(
            DiscussionEvent.repo_id == Discussion.repo_id,
            DiscussionEvent.number == Discussion.number,
            DiscussionEvent.type == "comment",
        )
        .scalar_subquery()
    )
    rows = session.execute(
        select(Discussion, Account.name, comments)
        .outerjoin(Account, Account.id == Discussion.author_id)
        .where(*wanted)
        .order_by(Discussion.number.desc())
        .offset(start)
        .limit(limit)
    )
    return count, [ListedDiscussion(found, name, number) for found, name, number in rows]


def load_thread(session: Session, repo: Repo, number: int) -> Thread:
    """A thread. Raises NotFound."""
    found = find_discussion(session, repo, number)
    author = session.get(Account, found.author_id) if found.author_id else None
    rows: Sequence[tuple[DiscussionEvent, str | None]] = [
        (event, name)
        for event, name in session.execute(
            select(DiscussionEvent, Account.name)
            .outerjoin(Account, Account.id == DiscussionEvent.author_id)
            .where(DiscussionEvent.repo_id == repo.id, DiscussionEvent.number == number)
            .order_by(DiscussionEvent.id)
        )
    ]
    events = [ThreadEvent(event, name) for event, name in rows]
    return Thread(found, author.name if author else None, events)


def count_unfinished(session: Session, repo: Repo) -> int:
    """How many threads of a repo are open or drafts."""
    unfinished = (
        select(func.count())
        .select_from(Discussion)
        .where(Discussion.repo_id == repo.id, Discussion.status.in_(_STATUSES["open"]))
    )
    return session.scalar(unfinished) or 0


def count_discussions(session: Session, caller: Principal | None, account: Account) -> int:
    """How many threads a user opened in repos that exist for the caller."""
    opened = (
        select(func.count())
        .select_from(Discussion)
        .join(Repo, Repo.id == Discussion.repo_id)
        .where(Discussion.author_id == account.id, readable_repos_clause(caller))
    )
    return session.scalar(opened) or 0
