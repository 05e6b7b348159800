"""Branches, tags and the commits behind them."""

import html
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoName, RepoNameDep, Revision, SignedIn
from app.api.json_body import read_json
from app.api.pages import cursor_position, set_next_page
from app.api.request_bodies import takes
from app.catalog import refs as catalog
from app.catalog.logs import MOST_HEADS, Position, read_log
from app.catalog.proposals import drop_commits
from app.db.tables import Commit, Ref, Repo
from app.errors import InvalidRequest
from app.hub import Hub

router = APIRouter(tags=["revisions"])

COMMITS_PER_PAGE = 200

_OID = re.compile(r"[0-9a-f]{40}")


class NewBranch(BaseModel):
    """Body of branch creation."""

    startingPoint: str | None = None  # noqa: N815  the clients' name


class NewTag(BaseModel):
    """Body of tag creation; the message of an annotated tag is not kept."""

    tag: str
    message: str | None = None


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/refs")
def list_refs(
    hub: HubDep, caller: Caller, name: RepoNameDep, include_prs: bool = False
) -> dict[str, Any]:
    """All branches and tags."""
    with hub.db.read() as session:
        refs = catalog.list_refs(session, name.find(session, caller))
    answer: dict[str, Any] = {
        "branches": _below(refs, catalog.BRANCH),
        "converts": _below(refs, "refs/convert/"),
        "tags": _below(refs, catalog.TAG),
    }
    if include_prs:
        answer["pullRequests"] = _below(refs, catalog.PULL_REQUEST)
    return answer


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/commits/{revision:quoted}")
def list_commits(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    revision: Revision,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = COMMITS_PER_PAGE,
    expand: Annotated[list[str], Query(alias="expand[]")] = [],  # noqa: B006  FastAPI copies it
) -> list[dict[str, Any]]:
    """History of a revision over all parents, newest first."""
    with hub.db.read() as session:
        repo = name.find(session, caller)
        start = _position(cursor)
        if start is None:
            start = Position((catalog.resolve_revision(session, repo, revision).oid,))
        commits, following = read_log(session, repo.id, start, limit=limit)
    if following is not None:
        set_next_page(request, response, [list(following.heads), following.skipped])
    return [_commit(commit, formatted="formatted" in expand) for commit in commits]


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/branch/{branch:quoted}")
@takes(NewBranch)
async def create_branch(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, branch: str
) -> dict[str, Any]:
    """Make a branch."""
    body = await read_json(request, hub.settings.limits, NewBranch)

    def work() -> None:
        repo = _writable(hub, caller, name)
        catalog.create_branch(hub, repo, branch, body.startingPoint)

    await run_in_threadpool(work)
    return {}


@router.delete("/api/{repo_type:repotype}/{namespace}/{name}/branch/{branch:quoted}")
def delete_branch(hub: HubDep, caller: SignedIn, name: RepoNameDep, branch: str) -> dict[str, Any]:
    """Remove a branch, or the commits of a pull request that is over."""
    if branch.startswith(catalog.PULL_REQUEST):
        with hub.db.read() as session:
            repo = name.find(session, caller)
        drop_commits(hub, caller, repo, branch)
        return {}
    catalog.delete_branch(hub, _writable(hub, caller, name), branch)
    return {}


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/tag/{revision:quoted}")
@takes(NewTag)
async def create_tag(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, revision: Revision
) -> dict[str, Any]:
    """Tag a revision."""
    body = await read_json(request, hub.settings.limits, NewTag)

    def work() -> None:
        catalog.create_tag(hub, _writable(hub, caller, name), body.tag, revision)

    await run_in_threadpool(work)
    return {}


@router.delete("/api/{repo_type:repotype}/{namespace}/{name}/tag/{tag:quoted}")
def delete_tag(hub: HubDep, caller: SignedIn, name: RepoNameDep, tag: str) -> dict[str, Any]:
    """Remove a tag."""
    catalog.delete_tag(hub, _writable(hub, caller, name), tag)
    return {}


def _writable(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    with hub.db.read() as session:
        return name.find_writable(session, caller)


def _position(cursor: str | None) -> Position | None:
    """Where a page of a log begins; None for the first. Raises InvalidRequest."""
    match cursor_position(cursor):
        case None:
            return None
        case [list(heads), int(skipped)] if (
            skipped >= 0
            and len(heads) <= MOST_HEADS
            and all(isinstance(each, str) and _OID.fullmatch(each) for each in heads)
        ):
            return Position(tuple(heads), skipped)
        case _:
            raise InvalidRequest("the cursor is not one of ours")


def _below(refs: list[Ref], prefix: str) -> list[dict[str, str]]:
    return [
        {
            "name": ref.name.removeprefix(prefix),
            "ref": ref.name,
            "targetCommit": ref.commit_oid,
        }
        for ref in refs
        if ref.name.startswith(prefix)
    ]


def _commit(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "date": wire_date(commit.created_at),
        "authors": [{"user": commit.author_name}],
    }
    if formatted:
        answer["formatted"] = {
            "title": html.escape(commit.title),
            "message": html.escape(commit.message),
        }
    return answer
