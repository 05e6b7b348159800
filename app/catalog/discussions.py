"""Discussions of a repo: opened, commented, renamed, closed. Pull requests are some of them.

Whoever sees the repo may speak; a thread's title and state belong to its author and to those who
may write to the repo. Comments are changed by their author and hidden by him or by them.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.permissions import can_write
from app.accounts.tokens import Principal
from app.db.tables import Account, Commit, Discussion, DiscussionEvent, Ref, Repo
from app.errors import Conflict, Forbidden, InvalidRequest, LimitExceeded, NotFound, RepoNotFound
from app.hub import Hub

EventType = Literal["comment", "status-change", "title-change", "commit"]

MIN_TITLE_LENGTH = 3
MAX_TITLE_LENGTH = 200

_JOINERS = "\u200c\u200d"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control, format (direction, zero width), surrogate, line and paragraph separators."""


@dataclass(frozen=True, slots=True)
class ThreadEvent:
    """An event with the name of who caused it; None: the account was removed."""

    event: DiscussionEvent
    author: str | None


def open_discussion(
    hub: Hub, principal: Principal, repo: Repo, title: str, description: str
) -> Discussion:
    """Start a thread; the description, if any, is its first comment."""
    title = check_title(title)
    check_text(hub, description)

    def work(session: Session) -> Discussion:
        made = add_discussion(session, hub, principal, repo, title, status="open", target=None)
        add_comment(session, hub, principal, made, description)
        return made

    return hub.db.run(work)


def comment(hub: Hub, principal: Principal, repo: Repo, number: int, text: str) -> ThreadEvent:
    """Say something. Raises NotFound, InvalidRequest, LimitExceeded."""
    check_text(hub, text)
    if not text.strip():
        raise InvalidRequest("a comment needs a text")

    def work(session: Session) -> ThreadEvent:
        found = find_discussion(session, repo, number, lock=True)
        return add_event(session, hub, principal, found, "comment", text)

    return hub.db.run(work)


def edit_comment(
    hub: Hub, principal: Principal, repo: Repo, number: int, event_id: int, text: str
) -> ThreadEvent:
    """Change a comment of one's own. Raises NotFound, Forbidden, Conflict if it is hidden."""
    check_text(hub, text)
    if not text.strip():
        raise InvalidRequest("a comment needs a text")

    def work(session: Session) -> ThreadEvent:
        event = _find_comment(session, repo, number, event_id)
        if event.author_id != principal.account_id:
            raise Forbidden("only its author may change a comment")
        if event.hidden:
            raise Conflict("the comment is hidden")
        event.text, event.edits, event.updated_at = text, event.edits + 1, hub.clock.now()
        return ThreadEvent(event, principal.name)

    return hub.db.run(work)


def hide_comment(
    hub: Hub, principal: Principal, repo: Repo, number: int, event_id: int
) -> ThreadEvent:
    """Hide a comment for good: its text is not kept. Hidden already: no error."""

    def work(session: Session) -> ThreadEvent:
        event = _find_comment(session, repo, number, event_id)
        if event.author_id != principal.account_id and not can_write(session, principal, repo):
            raise Forbidden("you may not hide this comment")
        if not event.hidden:
            event.text, event.hidden, event.updated_at = "", True, hub.clock.now()
            note(session, hub, "discussion.hide", repo.key, f"#{number}")
        author = session.get(Account, event.author_id) if event.author_id else None
        return ThreadEvent(event, author.name if author else None)

    return hub.db.run(work)


def rename(hub: Hub, principal: Principal, repo: Repo, number: int, title: str) -> ThreadEvent:
    """Give a thread another title. Raises NotFound, Forbidden, InvalidRequest."""
    title = check_title(title)

    def work(session: Session) -> ThreadEvent:
        found = find_moderated(session, principal, repo, number)
        former, found.title = found.title, title
        return add_event(session, hub, principal, found, "title-change", title, former)

    return hub.db.run(work)


def change_status(
    hub: Hub,
    principal: Principal,
    repo: Repo,
    number: int,
    status: Literal["open", "closed"],
    text: str = "",
) -> ThreadEvent:
    """Close a thread, open it again, or open a draft; the text, if any, is a comment.

    Raises NotFound, Forbidden, Conflict for a merged pull request, one whose commits were deleted,
    or one that is in this state.
    """
    check_text(hub, text)

    def work(session: Session) -> ThreadEvent:
        found = find_moderated(session, principal, repo, number)
        if found.status in {"merged", status}:
            raise Conflict(f"#{number} is {found.status} already")
        is_gone = found.target and session.get(Ref, (repo.id, f"refs/pr/{number}")) is None
        if status == "open" and is_gone:
            raise Conflict(f"the commits of #{number} were deleted: it cannot be opened again")
        add_comment(session, hub, principal, found, text)
        found.status = status
        return add_event(session, hub, principal, found, "status-change", status)

    return hub.db.run(work)


def note_commit(
    session: Session, hub: Hub, principal: Principal, repo: Repo, ref: str, commit: Commit
) -> None:
    """A commit went to a pull request's ref, which is locked. Raises Conflict if it is over."""
    found = find_discussion(session, repo, pull_request_number(ref), lock=True)
    check_unfinished(found)
    add_event(session, hub, principal, found, "commit", commit.title, commit.oid)


def follow_rewrite(session: Session, repo_id: int, moved: dict[str, str]) -> None:
    """Commits have other ids now: let threads name the new ones."""
    merged = select(Discussion).where(Discussion.repo_id == repo_id)
    for found in session.scalars(merged.where(Discussion.merge_oid.is_not(None))):
        found.merge_oid = moved.get(found.merge_oid or "", found.merge_oid)
    commits = select(DiscussionEvent.detail).where(
        DiscussionEvent.repo_id == repo_id, DiscussionEvent.type == "commit"
    )
    for former in set(session.scalars(commits)) & moved.keys():
        session.execute(
            update(DiscussionEvent)
            .where(
                DiscussionEvent.repo_id == repo_id,
                DiscussionEvent.type == "commit",
                DiscussionEvent.detail == former,
            )
            .values(detail=moved[former or ""])
        )


def find_discussion(session: Session, repo: Repo, number: int, *, lock: bool = False) -> Discussion:
    """A thread of a repo. Raises NotFound."""
    found = session.get(Discussion, (repo.id, number), with_for_update=lock)
    if found is None:
        raise NotFound(f"this repository has no discussion #{number}")
    return found


def find_moderated(session: Session, principal: Principal, repo: Repo, number: int) -> Discussion:
    """A thread, locked, whose title and state this principal may change; else Forbidden."""
    found = find_discussion(session, repo, number, lock=True)
    if found.author_id != principal.account_id and not can_write(session, principal, repo):
        raise Forbidden(f"#{number} is not yours, and you may not write to the repository")
    return found


def pull_request_number(ref: str) -> int:
    """The number in ``refs/pr/N``; 0, which no thread has, for what is none."""
    text = ref.removeprefix("refs/pr/")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def check_unfinished(found: Discussion) -> None:
    """Raise Conflict if a pull request takes no more commits."""
    if found.status in {"closed", "merged"}:
        raise Conflict(f"pull request #{found.number} is {found.status}")


def add_discussion(
    session: Session,
    hub: Hub,
    principal: Principal,
    repo: Repo,
    title: str,
    *,
    status: Literal["draft", "open"],
    target: str | None,
) -> Discussion:
    """A thread under the repo's next number."""
    # Held, so that nobody else counts: the lock in this statement, the look in the next.
    held = select(Repo.id).where(Repo.id == repo.id).with_for_update(key_share=True)
    if session.scalar(held) is None:
        raise RepoNotFound("Repository not found")
    last = session.scalar(select(func.max(Discussion.number)).where(Discussion.repo_id == repo.id))
    made = Discussion(
        repo_id=repo.id,
        number=(last or 0) + 1,
        title=title,
        status=status,
        target=target,
        author_id=principal.account_id,
        created_at=hub.clock.now(),
    )
    session.add(made)
    session.flush()
    return made


def add_comment(
    session: Session, hub: Hub, principal: Principal, found: Discussion, text: str
) -> None:
    """A comment, unless it is empty."""
    if text.strip():
        add_event(session, hub, principal, found, "comment", text)


def add_event(
    session: Session,
    hub: Hub,
    principal: Principal,
    found: Discussion,
    type_: EventType,
    text: str,
    detail: str | None = None,
) -> ThreadEvent:
    """Put an event at the end of a thread."""
    now = hub.clock.now()
    event = DiscussionEvent(
        repo_id=found.repo_id,
        number=found.number,
        type=type_,
        author_id=principal.account_id,
        text=text,
        detail=detail,
        created_at=now,
        updated_at=now,
    )
    session.add(event)
    session.flush()
    return ThreadEvent(event, principal.name)


def check_title(title: str) -> str:
    """A title without the space around it. Raises InvalidRequest."""
    title = title.strip()
    if not MIN_TITLE_LENGTH <= len(title) <= MAX_TITLE_LENGTH:
        raise InvalidRequest(
            f"title: {MIN_TITLE_LENGTH} to {MAX_TITLE_LENGTH} characters, not {len(title)}"
        )
    if title != seen_text(title):
        raise InvalidRequest("title: control and direction characters are not allowed")
    return title


def seen_text(text: str) -> str:
    """Text without characters that cannot be seen; joiners stay, scripts and emoji need them."""
    return "".join(
        char for char in text if char in _JOINERS or unicodedata.category(char) not in _UNSEEN
    )


def check_text(hub: Hub, text: str) -> None:
    """Raise LimitExceeded or InvalidRequest for what cannot be a comment."""
    if len(text.encode()) > hub.settings.limits.message_nbytes:
        raise LimitExceeded("comment too long", setting="limits.message_nbytes")
    if any(unicodedata.category(char) == "Cc" and char not in "\t\n\r" for char in text):
        raise InvalidRequest("a comment holds no control characters")


def _find_comment(session: Session, repo: Repo, number: int, event_id: int) -> DiscussionEvent:
    find_discussion(session, repo, number, lock=True)
    event = session.get(DiscussionEvent, event_id, populate_existing=True)
    if event is None or (event.repo_id, event.number) != (repo.id, number):
        raise NotFound(f"#{number} has no such comment")
    if event.type != "comment":
        raise InvalidRequest("this is no comment")
    return event
