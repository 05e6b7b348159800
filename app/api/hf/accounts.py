"""Users and organisations: what they own, who belongs to them, what their repos take up."""

from typing import Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounts import orgs
from app.accounts.permissions import is_member
from app.accounts.tokens import OrgRole, Principal
from app.accounts.users import create_org, find_account
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, SignedIn
from app.api.json_body import read_json
from app.api.pages import set_next_page, whole_number
from app.api.request_bodies import takes
from app.catalog.storage_use import list_storage
from app.catalog.threads import count_discussions
from app.db.tables import Account
from app.errors import Forbidden, NotFound
from app.hub import Hub

router = APIRouter(tags=["accounts"])

PER_PAGE = 1_000


class NewOrg(BaseModel):
    """Body of making an organisation."""

    name: str
    fullname: str = ""


class NewMember(BaseModel):
    """Body of taking somebody in."""

    user: str
    role: OrgRole = "read"


class NewRole(BaseModel):
    """Body of changing a role."""

    role: OrgRole


@router.get("/api/users/{user}/overview")
def user_overview(hub: HubDep, caller: Caller, user: str) -> dict[str, Any]:
    """What a user owns, as far as it exists for the caller, and where he belongs."""
    with hub.db.read() as session:
        account = orgs.find_user(session, user)
        return {
            **_user(account),
            **_counts(session, caller, account),
            "numDiscussions": count_discussions(session, caller, account),
            "numPapers": 0,
            "numUpvotes": 0,
            "numLikes": orgs.count_likes(session, caller, account),
            "numFollowing": 0,
            "numFollowers": 0,
            "isFollowing": False,
            "createdAt": wire_date(account.created_at),
            "orgs": [_org(org) for org in orgs.list_orgs_of(session, account)],
        }


@router.get("/api/users/{user}/followers")
@router.get("/api/users/{user}/following")
def user_follows(hub: HubDep, user: str) -> list[dict[str, Any]]:
    """Nobody follows anybody here."""
    with hub.db.read() as session:
        orgs.find_user(session, user)
    return []


@router.post("/api/organizations")
@takes(NewOrg)
async def make_org(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """An organisation that the caller administers."""
    body = await read_json(request, hub.settings.limits, NewOrg)
    if caller.role != "write":
        raise Forbidden("a token with the write role is needed")
    await run_in_threadpool(
        create_org, hub, body.name, fullname=body.fullname, admins=[caller.name]
    )
    return {"type": "org", "name": body.name, "fullname": body.fullname or body.name}


@router.get("/api/organizations/{org}/overview")
def org_overview(hub: HubDep, caller: Caller, org: str) -> dict[str, Any]:
    """What an organisation owns, as far as it exists for the caller."""
    with hub.db.read() as session:
        account = orgs.find_org(session, org)
        return {
            **_org(account),
            **_counts(session, caller, account),
            "details": None,
            "isVerified": False,
            "isFollowing": False,
            "numUsers": orgs.count_members(session, account),
            "numFollowers": 0,
            "numPapers": 0,
            "plan": None,
            "createdAt": wire_date(account.created_at),
        }


@router.get("/api/organizations/{org}/followers")
def org_followers(hub: HubDep, org: str) -> list[dict[str, Any]]:
    """Nobody follows anybody here."""
    with hub.db.read() as session:
        orgs.find_org(session, org)
    return []


@router.get("/api/organizations/{org}/members")
def org_members(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    org: str,
    cursor: str | None = None,
    limit: int = Query(PER_PAGE, ge=1, le=PER_PAGE),
) -> list[dict[str, Any]]:
    """Members of an organisation; their roles are shown to members."""
    with hub.db.read() as session:
        account = orgs.find_org(session, org)
        members = orgs.list_members(session, account, after=whole_number(cursor), limit=limit)
    if len(members) == limit:
        set_next_page(request, response, members[-1].account.id)
    inside = is_member(caller, account.id)
    return [_user(member.account) | ({"role": member.role} if inside else {}) for member in members]


@router.post("/api/organizations/{org}/members")
@takes(NewMember)
async def add_member(request: Request, hub: HubDep, caller: SignedIn, org: str) -> dict[str, Any]:
    """Take a user in."""
    body = await read_json(request, hub.settings.limits, NewMember)
    await run_in_threadpool(orgs.set_role, hub, caller, org, body.user, body.role)
    return {}


@router.put("/api/organizations/{org}/members/{user}/role")
@takes(NewRole)
async def change_role(
    request: Request, hub: HubDep, caller: SignedIn, org: str, user: str
) -> dict[str, Any]:
    """Give a member another role."""
    body = await read_json(request, hub.settings.limits, NewRole)
    await run_in_threadpool(orgs.set_role, hub, caller, org, user, body.role)
    return {}


@router.delete("/api/organizations/{org}/members/{user}")
def remove_member(hub: HubDep, caller: SignedIn, org: str, user: str) -> dict[str, Any]:
    """Send a member away, or leave."""
    orgs.remove_member(hub, caller, org, user)
    return {}


@router.get("/api/settings/repositories")
def own_storage(
    request: Request, response: Response, hub: HubDep, caller: SignedIn, cursor: str | None = None
) -> list[dict[str, Any]]:
    """The caller's repos with what they take up: ``hf repos ls``."""
    return _storage(request, response, hub, caller.name, cursor)


@router.get("/api/organizations/{org}/settings/repositories")
def org_storage(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: SignedIn,
    org: str,
    cursor: str | None = None,
) -> list[dict[str, Any]]:
    """The same for an organisation, for its members. A user may ask for his own name."""
    with hub.db.read() as session:
        account = find_account(session, org)
    if account is None:
        raise NotFound(f"no organization {org!r}")
    if not is_member(caller, account.id):
        raise Forbidden(f"you are no member of {account.name}")
    return _storage(request, response, hub, account.name, cursor)


def _storage(
    request: Request, response: Response, hub: Hub, name: str, cursor: str | None
) -> list[dict[str, Any]]:
    with hub.db.read() as session:
        owner = find_account(session, name)
        assert owner is not None
        used, total = list_storage(session, owner, after=whole_number(cursor), limit=PER_PAGE)
    if len(used) == PER_PAGE:
        set_next_page(request, response, used[-1].repo.id)
    return [
        {
            "id": f"{owner.name}/{each.repo.name}",
            "type": each.repo.type,
            "updatedAt": wire_date(each.repo.updated_at),
            "visibility": "private" if each.repo.private else "public",
            "storage": each.nbytes,
            "storagePercent": 100 * each.nbytes / total if total else 0,
        }
        for each in used
    ]


def _user(account: Account) -> dict[str, Any]:
    return {
        "_id": f"{account.id:024x}",
        "type": "user",
        "user": account.name,
        "fullname": account.fullname or account.name,
        "avatarUrl": "",
        "isPro": False,
    }


def _org(account: Account) -> dict[str, Any]:
    return {
        "_id": f"{account.id:024x}",
        "type": "org",
        "name": account.name,
        "fullname": account.fullname or account.name,
        "avatarUrl": "",
    }


def _counts(session: Session, caller: Principal | None, account: Account) -> dict[str, int]:
    owned = orgs.holdings(session, caller, account)
    return {"numModels": owned.models, "numDatasets": owned.datasets, "numSpaces": owned.spaces}
