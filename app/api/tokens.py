"""A user's tokens: listed, made with a scope and an end, revoked."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.accounts.issuing import (
    MOST_SCOPES,
    ListedToken,
    ScopeName,
    check_may_issue,
    issue_token,
    list_tokens,
    revoke,
)
from app.accounts.tokens import TokenRole
from app.api.dates import wire_date
from app.api.deps import HubDep, SignedIn
from app.api.json_body import read_json
from app.api.request_bodies import takes

router = APIRouter(tags=["accounts"])

LONGEST_S = 10 * 365 * 24 * 3600


class NewScope(BaseModel):
    """What a fine-grained token is to open: an account, or ``[datasets/|spaces/]owner/name``."""

    entity: str = Field(max_length=256)
    permission: Literal["read", "write"] = "read"


class NewToken(BaseModel):
    """Body of making a token."""

    name: str
    role: TokenRole = "read"
    scopes: list[NewScope] = Field([], max_length=MOST_SCOPES)
    expiresInSeconds: int | None = Field(None, ge=1, le=LONGEST_S)  # noqa: N815  as others here


@router.get("/api/clade/tokens")
def own_tokens(hub: HubDep, caller: SignedIn) -> list[dict[str, Any]]:
    """The caller's tokens, without their secrets."""
    check_may_issue(caller)
    with hub.db.read() as session:
        return [_described(each) for each in list_tokens(session, account_id=caller.account_id)]


@router.post("/api/clade/tokens")
@takes(NewToken)
async def make_token(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """One more token; its secret is in this answer and nowhere else."""
    body = await read_json(request, hub.settings.limits, NewToken)
    check_may_issue(caller)
    lasts = None if body.expiresInSeconds is None else timedelta(seconds=body.expiresInSeconds)

    def work() -> dict[str, Any]:
        token_id, secret = issue_token(
            hub,
            caller.name,
            name=body.name,
            role=body.role,
            scopes=[ScopeName(each.entity, each.permission == "write") for each in body.scopes],
            lasts=lasts,
        )
        return {"id": token_id, "token": secret}

    return await run_in_threadpool(work)


@router.delete("/api/clade/tokens/{token_id}")
def revoke_token(
    hub: HubDep, caller: SignedIn, token_id: Annotated[int, Path(ge=1, lt=1 << 63)]
) -> dict[str, Any]:
    """Refuse a token of the caller's from now on."""
    check_may_issue(caller)
    revoke(hub, token_id, account_id=caller.account_id)
    return {}


def _described(token: ListedToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "createdAt": wire_date(token.created_at),
        "expiresAt": token.expires_at and wire_date(token.expires_at),
        "scopes": [
            {"entity": each.entity, "permission": "write" if each.writes else "read"}
            for each in token.scopes
        ],
    }
