"""Xet uploads: the write token, and the CAS routes that today's clients call with it.

Source: hub-docs ``docs/xet/{api,auth,upload-protocol}.md`` and, for upload grants, the xet-client
README. Downloads are in :mod:`app.api.hf.xet_reads`.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.accounts.permissions import can_write
from app.api.body import check_declared_limit, run_on_upload_thread, with_body
from app.api.deps import HubDep, RepoNameDep, Revision, SignedIn, base_url, get_hub
from app.api.hf.shard_events import ShardEvents
from app.api.json_body import read_json
from app.api.pace import Pace
from app.api.request_bodies import sends, takes, takes_bytes
from app.errors import ContentNotFound, InvalidRequest, LimitExceeded, Unauthorized
from app.hub import Hub
from app.settings import Limits
from app.xet.epoch import cas_realm
from app.xet.grants import commit_upload, grant_upload
from app.xet.hashing import parse_digest
from app.xet.register import register_shard
from app.xet.shard import ShardFile, read_shard
from app.xet.staging import has_xorb, store_xorb
from app.xet.tokens import XetGrantee, issue_token, read_token

router = APIRouter(tags=["xet"])

XET_LOGIN = {"security": [{"xet": []}]}


def get_grantee(request: Request) -> XetGrantee:
    """Whose upload this is. Raises Unauthorized without a valid Xet token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("a Xet token is needed; ask for one at xet-write-token")
    return read_token(get_hub(request), token.strip())


def get_digest(prefix: str, digest: str) -> bytes:
    """The digest in a path."""
    try:
        return parse_digest(digest)
    except ValueError as error:
        raise InvalidRequest(f"{prefix}: {error}") from None


Grantee = Annotated[XetGrantee, Depends(get_grantee)]
Digest = Annotated[bytes, Depends(get_digest)]


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/xet-write-token/{revision:quoted}")
def xet_write_token(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    repo_name: RepoNameDep,
    revision: Revision,
    create_pr: bool = False,
) -> Response:
    """A token to upload files of one repository with, and where to.

    Files of writers are granted to the repository, whatever the branch they go to: the file system
    of huggingface_hub asks for one called None.
    """
    with hub.db.read() as session:
        repo = repo_name.find_target(session, caller, revision, create_pr=create_pr)
        proposes = not can_write(session, caller, repo)
        grantee = XetGrantee(
            caller.account_id, repo.id, proposes=proposes, token_id=caller.token_id
        )
        cas_url = f"{base_url(request)}/cas/{cas_realm(session, hub, caller.account_id)}"
    token, expires_at = issue_token(hub, grantee)
    return token_response(token, expires_at, cas_url)


def token_response(token: str, expires_at: int, cas_url: str) -> Response:
    """A Xet token as hf_xet (the body) and huggingface_hub (the headers) read it."""
    return JSONResponse(
        {"accessToken": token, "exp": expires_at, "casUrl": cas_url},
        headers={
            "X-Xet-Access-Token": token,
            "X-Xet-Token-Expiration": str(expires_at),
            "X-Xet-Cas-Url": cas_url,
            "Cache-Control": "no-store",
        },
    )


@router.get("/cas/{realm}/v1/chunks/{prefix}/{digest}", openapi_extra=XET_LOGIN)
def find_chunk(_grantee: Grantee, _digest: Digest) -> Response:
    """Nothing is deduplicated across accounts before it is sent: that would tell who has what."""
    raise ContentNotFound("chunk not found")


class Checksum(BaseModel):
    """What the client expects the store to check; the hub checks every chunk instead."""

    model_config = ConfigDict(extra="ignore")

    algo: Literal["crc64nvme"]
    value: str = Field(max_length=20)


class GrantRequest(BaseModel):
    """A xorb that a client is about to send."""

    model_config = ConfigDict(extra="ignore")

    length: int
    checksum: Checksum | None = None


@router.post(
    "/cas/{realm}/v1/xorb-grants/{prefix}/{digest}",
    openapi_extra=XET_LOGIN,
    responses={201: {"description": "Send the xorb to the URL in the answer, then commit."}},
)
@takes(GrantRequest)
async def grant_xorb(request: Request, hub: HubDep, grantee: Grantee, digest: Digest) -> Response:
    """201 with a presigned PUT, 200 if the account sent this xorb before, 404 without presigning.

    After 404 the client sends the xorb to the hub itself.
    """
    if not hub.store.can_presign:
        raise ContentNotFound("this hub takes xorbs itself")
    wanted = await read_json(request, hub.settings.limits, GrantRequest)
    if await run_in_threadpool(has_xorb, hub, grantee.account_id, digest):
        return JSONResponse({"was_inserted": False})
    grant = await run_in_threadpool(grant_upload, hub, grantee.account_id, digest, wanted.length)
    sent = grant.request
    return JSONResponse(
        {"id": grant.id, "method": sent.method, "url": sent.url, "headers": sent.headers},
        status_code=201,
    )


@router.post(
    "/cas/{realm}/v1/xorb-commits/{prefix}/{digest}/grant/{grant_id}", openapi_extra=XET_LOGIN
)
def commit_xorb(hub: HubDep, grantee: Grantee, digest: Digest, grant_id: str) -> dict[str, bool]:
    """Take over what was sent under a grant; 404 if nothing was, then the client asks again."""
    if has_xorb(hub, grantee.account_id, digest):
        return {"was_inserted": False}
    return {"was_inserted": commit_upload(hub, grantee.account_id, digest, grant_id)}


@router.post("/cas/{realm}/v1/xorbs/{prefix}/{digest}", openapi_extra=XET_LOGIN)
@takes_bytes("The xorb.")
async def upload_xorb(
    request: Request, hub: HubDep, grantee: Grantee, digest: Digest
) -> dict[str, bool]:
    """Take a xorb; every chunk is checked while it streams into the store."""
    check_declared_limit(request, hub.settings.limits.xorb_nbytes, "limits.xorb_nbytes")
    known = await run_in_threadpool(has_xorb, hub, grantee.account_id, digest)

    def take(buffers: Iterator[bytes]) -> bool:
        if known:
            return _discard(buffers, hub.settings.limits)
        return store_xorb(hub, grantee.account_id, digest, buffers)

    return {"was_inserted": await with_body(request, take, pace=Pace.of(hub.settings))}


@router.post(
    "/cas/{realm}/v2/shards",
    openapi_extra=XET_LOGIN,
    responses=sends("application/x-ndjson"),
    response_class=Response,
)
@takes_bytes("The shard.")
async def upload_shard_v2(request: Request, hub: HubDep, grantee: Grantee) -> Response:
    """Make files out of the xorbs that were sent; progress and outcome as ndjson events."""
    files = await _read_shard(request, hub)
    return ShardEvents(
        lambda progress: register_shard(hub, grantee, files, progress), request=request
    )


@router.post("/cas/{realm}/v1/shards", openapi_extra=XET_LOGIN)
@takes_bytes("The shard.")
async def upload_shard_v1(request: Request, hub: HubDep, grantee: Grantee) -> dict[str, int]:
    """The same for clients that take one answer at the end."""
    files = await _read_shard(request, hub)
    await run_on_upload_thread(
        lambda: register_shard(hub, grantee, files, lambda _done, _total: None)
    )
    return {"result": 1}


@router.post("/v1/telemetry", status_code=204)
def telemetry() -> Response:
    """Clients report transfer statistics here; nobody listens."""
    return Response(status_code=204)


async def _read_shard(request: Request, hub: Hub) -> list[ShardFile]:
    limits = hub.settings.limits
    check_declared_limit(request, limits.shard_nbytes, "limits.shard_nbytes")
    return await with_body(
        request,
        lambda buffers: read_shard(buffers, limits),
        pace=Pace.of(hub.settings),
    )


def _discard(buffers: Iterable[bytes], limits: Limits) -> bool:
    """Read what need not be sent; False, as nothing was inserted."""
    total = 0
    for buffer in buffers:
        total += len(buffer)
        if total > limits.xorb_nbytes:
            raise LimitExceeded("the xorb is too big", setting="limits.xorb_nbytes")
    return False
