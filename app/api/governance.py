"""Quotas as their owners see them, and the audit log for those who run the hub."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.accounts.audit import list_events
from app.accounts.permissions import is_member
from app.accounts.quotas import read_quota
from app.accounts.users import find_account
from app.api.dates import wire_date
from app.api.deps import Admin, HubDep, RepoNameDep, SignedIn
from app.api.pages import set_next_page, whole_number
from app.catalog.naming import key_without_type
from app.db.tables import Repo
from app.errors import NotFound

router = APIRouter(tags=["accounts"])

PER_PAGE = 100


@router.get("/api/clade/quotas/{account}")
def account_quota(hub: HubDep, caller: SignedIn, account: str) -> dict[str, Any]:
    """What an account may have and has, for itself and its members."""
    with hub.db.read() as session:
        found = find_account(session, account)
        if found is None or not is_member(caller, found.id):
            raise NotFound(f"no account {account!r} of yours")
        most, used = read_quota(session, hub, found.name)
    return {"name": found.name, "most": asdict(most), "used": asdict(used)}


@router.get("/api/clade/{repo_type:repotype}/{namespace}/{name}/quota")
def repo_quota(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """What a repository may have and has, for those who write to it."""
    with hub.db.read() as session:
        repo = name.find_writable(session, caller)
        most, used = read_quota(session, hub, quota_name(repo))
    return {"id": f"{name.namespace}/{name.name}", "most": asdict(most), "used": asdict(used)}


@router.get("/api/clade/audit")
def audit(
    request: Request,
    response: Response,
    hub: HubDep,
    _admin: Admin,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = PER_PAGE,
) -> list[dict[str, Any]]:
    """Who did what, newest first."""
    with hub.db.read() as session:
        found = list_events(
            session,
            actor=actor,
            action=action,
            target=target,
            before=whole_number(cursor) or None,
            limit=limit,
        )
    if len(found) == limit:
        set_next_page(request, response, found[-1].id)
    return [
        {
            "id": each.id,
            "at": wire_date(each.at),
            "requestId": each.request_id,
            "address": each.address,
            "actor": each.actor,
            "tokenId": each.token_id,
            "action": each.action,
            "target": each.target,
            "detail": each.detail,
        }
        for each in found
    ]


def quota_name(repo: Repo) -> str:
    """What ``clade quota`` calls a repo."""
    key = key_without_type(repo.key)
    return key if repo.type == "model" else f"{repo.type}s/{key}"
