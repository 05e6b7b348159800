"""What people other than its owners do with a repo: like it, and ask to be let in."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.accounts.orgs import find_user
from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoName, RepoNameDep, SignedIn
from app.api.json_body import read_json
from app.api.pages import set_next_page, whole_number
from app.api.request_bodies import takes
from app.catalog import gating, likes
from app.catalog.gating import Status
from app.db.tables import Repo
from app.errors import Forbidden, InvalidRequest
from app.hub import Hub

router = APIRouter(tags=["repositories"])

PER_PAGE = 1_000
ADDRESS = "/api/{repo_type:repotype}/{namespace}/{name}"
REQUESTS = ADDRESS + "/user-access-request"

Limit = Annotated[int, Query(ge=1, le=PER_PAGE)]


class Grant(BaseModel):
    """Body of letting a user in."""

    user: str


class Decision(BaseModel):
    """Body of handling a request; the user or the request's id says which."""

    status: Status
    user: str | None = None
    requestId: str | None = None  # noqa: N815  the clients' name
    rejectionReason: str | None = None  # noqa: N815  the clients' name


@router.post(ADDRESS + "/like")
def like(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """Like a repo."""
    likes.like(hub, caller, _liked(hub, caller, name))
    return {}


@router.delete(ADDRESS + "/like")
def unlike(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """Like a repo no more."""
    likes.unlike(hub, caller, _liked(hub, caller, name))
    return {}


@router.get(ADDRESS + "/likers")
def likers(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    cursor: str | None = None,
    limit: Limit = PER_PAGE,
) -> list[dict[str, Any]]:
    """Users who like a repo."""
    with hub.db.read() as session:
        repo = name.find(session, caller)
        found = likes.list_likers(session, repo, after=whole_number(cursor), limit=limit)
    if len(found) == limit:
        set_next_page(request, response, found[-1].id)
    return [
        {"user": account.name, "fullname": account.fullname or account.name, "avatarUrl": ""}
        for account in found
    ]


@router.get("/api/users/{user}/likes")
def liked(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    user: str,
    cursor: str | None = None,
    limit: Limit = PER_PAGE,
) -> list[dict[str, Any]]:
    """Repos that a user likes, as far as they exist for the caller."""
    with hub.db.read() as session:
        account = find_user(session, user)
        found = likes.list_liked(session, caller, account, after=whole_number(cursor), limit=limit)
    if len(found) == limit:
        set_next_page(request, response, found[-1].listed.repo.id)
    return [
        {
            "createdAt": wire_date(each.since),
            "repo": {"name": each.listed.id, "type": each.listed.repo.type},
        }
        for each in found
    ]


@router.post("/{repo_type:typeprefix}{namespace}/{name}/ask-access")
def ask_access(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """Ask to be let in to a gated repo."""
    with hub.db.read() as session:
        repo = name.find(session, caller)
    return {"status": gating.ask_access(hub, caller, repo)}


@router.get(REQUESTS + "/{status}")
def access_requests(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: SignedIn,
    name: RepoNameDep,
    status: Annotated[Literal["pending", "accepted", "rejected"], Path()],
    cursor: str | None = None,
    limit: Limit = PER_PAGE,
) -> list[dict[str, Any]]:
    """Requests in one state, for the owners."""
    with hub.db.read() as session:
        repo = name.find_writable(session, caller)
        found = gating.list_requests(session, repo, status, after=whole_number(cursor), limit=limit)
    if len(found) == limit:
        set_next_page(request, response, found[-1].request.id)
    return [_request(each) for each in found]


@router.post(REQUESTS + "/grant")
@takes(Grant)
async def grant(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Let a user in unasked."""
    body = await read_json(request, hub.settings.limits, Grant)

    def work() -> None:
        gating.grant_access(hub, _owned(hub, caller, name), body.user)

    await run_in_threadpool(work)
    return {}


@router.post(REQUESTS + "/handle")
@takes(Decision)
async def handle(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Accept, reject or put back a request."""
    body = await read_json(request, hub.settings.limits, Decision)
    if (body.user is None) == (body.requestId is None):
        raise InvalidRequest("one of user and requestId says which request is meant")

    def work() -> None:
        gating.handle_request(
            hub,
            _owned(hub, caller, name),
            body.status,
            user=body.user,
            request_id=None if body.requestId is None else _request_id(body.requestId),
            reason=body.rejectionReason,
        )

    await run_in_threadpool(work)
    return {}


def _liked(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    if caller.role != "write":
        raise Forbidden("a token with the write role is needed")
    with hub.db.read() as session:
        return name.find(session, caller)


def _owned(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    with hub.db.read() as session:
        return name.find_writable(session, caller)


def _request_id(text: str) -> int:
    """Ids of ours are 24 hexadecimal digits; others are those of no request."""
    try:
        number = int(text, 16) if len(text) == 24 else -1
    except ValueError:
        return -1
    return number if number.bit_length() <= 63 else -1


def _request(listed: gating.ListedRequest) -> dict[str, Any]:
    user = {
        "_id": f"{listed.account.id:024x}",
        "user": listed.account.name,
        "fullname": listed.account.fullname or listed.account.name,
        "avatarUrl": "",
    }
    if listed.request.asked and listed.account.email:
        user["email"] = listed.account.email
    return {
        "requestId": f"{listed.request.id:024x}",
        "user": user,
        "status": listed.request.status,
        "timestamp": wire_date(listed.request.changed_at),
    }
