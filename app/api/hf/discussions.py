"""Discussions and pull requests, as the clients speak of them."""

import html
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounts.permissions import can_discuss, can_open
from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoName, RepoNameDep, SignedIn, repo_type_of
from app.api.json_body import parse_json, read_body, read_json, validated
from app.api.request_bodies import takes
from app.api.small_files import SmallFilesDep
from app.catalog import discussions
from app.catalog.diffs import patch_text
from app.catalog.discussions import ThreadEvent
from app.catalog.merging import find_conflicts, merge_pull_request, proposed_changes
from app.catalog.proposals import check_push, open_draft
from app.catalog.repos import check_open, repo_id
from app.catalog.threads import Kind, StatusFilter, list_discussions, load_thread
from app.db.tables import Discussion, Repo
from app.errors import Forbidden, NotFound
from app.hub import Hub

router = APIRouter(tags=["discussions"])

ADDRESS = "/api/{repo_type:repotype}/{namespace}/{name}/discussions"
PER_PAGE = 50

Number = Annotated[int, Path(ge=1, lt=1 << 31)]
Schema = TypeVar("Schema", bound=BaseModel)
T = TypeVar("T")


class NewDiscussion(BaseModel):
    """Body of opening one."""

    title: str
    description: str = ""
    pullRequest: bool = False  # noqa: N815  the clients' name


class NewComment(BaseModel):
    """Body of a comment."""

    comment: str


class NewContent(BaseModel):
    """Body of editing a comment."""

    content: str


class NewTitle(BaseModel):
    """Body of renaming."""

    title: str


class NewStatus(BaseModel):
    """Body of closing and opening."""

    status: Literal["open", "closed"]
    comment: str = ""


class Merge(BaseModel):
    """Body of merging; the clients may send none."""

    comment: str = ""


@router.get(ADDRESS)
def get_discussions(
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    p: Annotated[int, Query(ge=0, lt=1 << 24)] = 0,
    author: str | None = None,
    kind: Annotated[Kind, Query(alias="type")] = "all",
    status: StatusFilter = "all",
) -> dict[str, Any]:
    """A page of discussions and pull requests, newest first."""
    with hub.db.read() as session:
        repo = name.find(session, caller)
        start = p * PER_PAGE
        count, found = list_discussions(
            session, repo, kind=kind, status=status, author=author, start=start, limit=PER_PAGE
        )
        return {
            "discussions": [
                _described(session, repo, each.discussion, each.author)
                | {"numComments": each.comments}
                for each in found
            ],
            "count": count,
            "start": start,
        }


@router.post(ADDRESS)
@takes(NewDiscussion)
async def post_discussion(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Open a discussion, or a pull request as a draft."""
    body = await read_json(request, hub.settings.limits, NewDiscussion)

    def work() -> dict[str, Any]:
        repo = _spoken_of(hub, caller, name)
        if body.pullRequest:
            with hub.db.read() as session:
                check_open(session, caller, repo)
                check_push(session, caller, repo, None)
            made = open_draft(hub, caller, repo, body.title, body.description)
        else:
            made = discussions.open_discussion(hub, caller, repo, body.title, body.description)
        with hub.db.read() as session:
            return _described(session, repo, made, caller.name) | {"pullRequest": body.pullRequest}

    return await run_in_threadpool(work)


@router.get(ADDRESS + "/{number}")
def get_discussion(
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    number: Number,
    diff: bool = False,
) -> dict[str, Any]:
    """A discussion with all that happened in it; ``diff``: and what the pull request changes."""
    changes = None
    with hub.db.read() as session:
        repo = name.find(session, caller)
        thread = load_thread(session, repo, number)
        found = thread.discussion
        answer = _described(session, repo, found, thread.author)
        if found.target is not None:
            answer["changes"] = {"base": found.target, "mergeCommitId": found.merge_oid}
            answer["filesWithConflicts"] = find_conflicts(session, repo, found)
            if diff and can_open(session, caller, repo):
                changes = proposed_changes(session, repo, found)
    if changes is not None:
        answer["diff"] = patch_text(changes, small_files.text_of)
    return answer | {"events": [_event(each) for each in thread.events]}


@router.post(ADDRESS + "/{number}/comment")
@takes(NewComment)
async def post_comment(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, number: Number
) -> dict[str, Any]:
    """Say something."""
    body = await read_json(request, hub.settings.limits, NewComment)
    return await _answer("newMessage", hub, caller, name, discussions.comment, number, body.comment)


@router.post(ADDRESS + "/{number}/comment/{comment}/edit")
@takes(NewContent)
async def edit_comment(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    name: RepoNameDep,
    number: Number,
    comment: str,
) -> dict[str, Any]:
    """Change a comment of one's own."""
    body = await read_json(request, hub.settings.limits, NewContent)
    key, edit = _event_key(comment), discussions.edit_comment
    return await _answer("updatedComment", hub, caller, name, edit, number, key, body.content)


@router.post(ADDRESS + "/{number}/comment/{comment}/hide")
async def hide_comment(
    hub: HubDep, caller: SignedIn, name: RepoNameDep, number: Number, comment: str
) -> dict[str, Any]:
    """Hide a comment for good."""
    key, hide = _event_key(comment), discussions.hide_comment
    return await _answer("updatedComment", hub, caller, name, hide, number, key)


@router.post(ADDRESS + "/{number}/title")
@takes(NewTitle)
async def post_title(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, number: Number
) -> dict[str, Any]:
    """Give it another title."""
    body = await read_json(request, hub.settings.limits, NewTitle)
    return await _answer("newTitle", hub, caller, name, discussions.rename, number, body.title)


@router.post(ADDRESS + "/{number}/status")
@takes(NewStatus)
async def post_status(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, number: Number
) -> dict[str, Any]:
    """Close it, or open it (again)."""
    body = await read_json(request, hub.settings.limits, NewStatus)
    change = discussions.change_status
    return await _answer("newStatus", hub, caller, name, change, number, body.status, body.comment)


@router.post(ADDRESS + "/{number}/merge")
@takes(Merge, required=False)
async def merge(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, number: Number
) -> dict[str, Any]:
    """Put what a pull request changes on its target."""
    limits = hub.settings.limits
    sent = await read_body(request, limits.json_nbytes, "limits.json_nbytes")
    parsed = parse_json(sent, limits) if sent.strip() else None
    body = Merge() if parsed is None else validated(Merge, parsed)

    def work() -> dict[str, Any]:
        with hub.db.read() as session:
            repo = name.find_writable(session, caller)
        made = merge_pull_request(hub, caller, repo, number, body.comment)
        return {"success": True, "commitOid": made.oid}

    return await run_in_threadpool(work)


async def _answer(
    key: str,
    hub: Hub,
    caller: Principal,
    name: RepoName,
    change: Callable[..., ThreadEvent],
    *arguments: Any,
) -> dict[str, Any]:
    """Let a change happen to a discussion of a repo that the caller may speak of."""

    def work() -> dict[str, Any]:
        repo = _spoken_of(hub, caller, name)
        return {key: _event(change(hub, caller, repo, *arguments))}

    return await run_in_threadpool(work)


def _spoken_of(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    with hub.db.read() as session:
        repo = name.find(session, caller)
        if not can_discuss(session, caller, repo):
            raise Forbidden("a token with the write role is needed")
        return repo


def _event_key(comment: str) -> int:
    try:
        key = int(comment, 16) if comment.isalnum() and comment.isascii() else 0
    except ValueError:
        key = 0
    if not 0 < key < 1 << 63:
        raise NotFound(f"no such comment: {comment[:40]}")
    return key


def _described(
    session: Session, repo: Repo, found: Discussion, author: str | None
) -> dict[str, Any]:
    return {
        "num": found.number,
        "title": found.title,
        "status": found.status,
        "isPullRequest": found.target is not None,
        "createdAt": wire_date(found.created_at),
        "repo": {"name": repo_id(session, repo), "type": repo_type_of(repo)},
        "pinned": False,
        "locked": False,
    } | _author(author)


def _event(each: ThreadEvent) -> dict[str, Any]:
    event = each.event
    match event.type:
        case "comment":
            data: dict[str, Any] = {
                "edited": event.edits > 0,
                "hidden": event.hidden,
                "latest": {
                    "raw": event.text,
                    "html": f"<p>{html.escape(event.text)}</p>",
                    "updatedAt": wire_date(event.updated_at),
                }
                | _author(each.author),
                "numEdits": event.edits,
                "history": [],
            }
        case "status-change":
            data = {"status": event.text}
        case "title-change":
            data = {"from": event.detail, "to": event.text}
        case _:
            data = {"subject": event.text, "oid": event.detail}
    return {
        "id": f"{event.id:024x}",
        "type": event.type,
        "createdAt": wire_date(event.created_at),
        "data": data,
    } | _author(each.author)


def _author(name: str | None) -> dict[str, Any]:
    """Who did it; the clients call an absent one deleted."""
    if name is None:
        return {}
    return {"author": {"name": name, "type": "user", "avatarUrl": ""}}
