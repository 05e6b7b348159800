"""git over HTTP: clone, fetch and push by the smart protocol, versions 0 to 2.

Source: git's gitprotocol-http(5). Every address works with and without ``.git``; big files travel
by the git-lfs routes.
"""

import zlib
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.accounts.tokens import Principal
from app.api.body import with_body
from app.api.deps import AskerDep, Caller, HubDep, RepoName, SignedIn, get_repo_name
from app.api.git_errors import GitRoute
from app.api.pace import Pace
from app.api.request_bodies import sends, takes_bytes
from app.api.routing import RepoType
from app.db.tables import Repo
from app.errors import InvalidRequest, LimitExceeded, Unauthorized
from app.git.advertising import advertise, asked_version, list_refs, wanted_service
from app.git.asking import read_command, read_fetch_arguments, read_old_fetch
from app.git.names import known_refs
from app.git.pkt import PktReader
from app.git.receiving import receive_push
from app.git.sending import answer_fetch, answer_old_fetch
from app.hub import Hub

router = APIRouter(tags=["git"], route_class=GitRoute)

ADDRESS = "/{repo_type:typeprefix}{namespace}/{name}"
NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
INFLATE_NBYTES = 1 << 20


async def get_git_name(
    request: Request, asker: AskerDep, repo_type: RepoType, namespace: str, name: str
) -> RepoName:
    """The repo of an address that may end in ``.git``. Raises as ``get_repo_name`` does."""
    return await get_repo_name(request, asker, repo_type, namespace, name.removesuffix(".git"))


GitName = Annotated[RepoName, Depends(get_git_name)]


@router.get(ADDRESS + "/info/refs", responses=sends("*/*"), response_class=Response)
def info_refs(
    request: Request,
    hub: HubDep,
    caller: Caller,
    name: GitName,
    service: Annotated[str | None, Query()] = None,
) -> Response:
    """What there is to fetch, or where one may push to."""
    wanted = wanted_service(service)
    with hub.db.read() as session:
        repo = name.find_open(session, caller)
        if wanted == "git-receive-pack":
            if caller is None:
                raise Unauthorized("credentials are needed to push")
            name.find_writable(session, caller)
        known = known_refs(session, repo.id, hub.settings.default_branch)
    body = advertise(wanted, known, version=_version(request))
    media_type = f"application/x-{wanted}-advertisement"
    return Response(body, media_type=media_type, headers=NO_CACHE)


@router.post(
    ADDRESS + "/git-upload-pack",
    responses=sends("application/x-git-upload-pack-result"),
    response_class=Response,
)
@takes_bytes("What is wanted and had, in pkt-lines.", "application/x-git-upload-pack-request")
async def upload_pack(request: Request, hub: HubDep, caller: Caller, name: GitName) -> Response:
    """One round of a fetch: what is common, or the pack."""
    repo = await run_in_threadpool(_find_open, hub, caller, name)
    body = await _read_question(request, hub.settings.limits.git_request_nbytes)
    version = _version(request)
    answer = await run_in_threadpool(_answer, hub, repo, body, version)
    return StreamingResponse(
        answer, media_type="application/x-git-upload-pack-result", headers=NO_CACHE
    )


@router.post(
    ADDRESS + "/git-receive-pack",
    responses=sends("application/x-git-receive-pack-result"),
    response_class=Response,
)
@takes_bytes("Ref updates and a pack.", "application/x-git-receive-pack-request")
async def receive_pack(request: Request, hub: HubDep, caller: SignedIn, name: GitName) -> Response:
    """A push."""
    repo = await run_in_threadpool(_find_writable, hub, caller, name)
    body = await with_body(
        request,
        lambda buffers: receive_push(hub, caller, repo, buffers),
        pace=Pace.of(hub.settings),
    )
    media_type = "application/x-git-receive-pack-result"
    return Response(body, media_type=media_type, headers=NO_CACHE)


def _answer(hub: Hub, repo: Repo, body: bytes, version: int) -> Iterator[bytes]:
    reader = PktReader([body])
    if version != 2:
        return answer_old_fetch(hub, repo, read_old_fetch(reader))
    command = read_command(reader)
    if command is None:
        return iter([])
    if command.name == b"ls-refs":
        with hub.db.read() as session:
            known = known_refs(session, repo.id, hub.settings.default_branch)
        return iter([list_refs(known, command.arguments)])
    if command.name == b"fetch":
        return answer_fetch(hub, repo, read_fetch_arguments(command.arguments))
    raise InvalidRequest("a command of git that is not offered")


async def _read_question(request: Request, max_nbytes: int) -> bytes:
    """The body of a fetch, which git compresses when it is long."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise InvalidRequest(f"content-encoding {encoding[:40]!a} is not accepted")
    inflater = zlib.decompressobj(wbits=31) if encoding != "identity" else None
    body = bytearray()
    async for chunk in request.stream():
        rest = chunk
        while rest:
            if inflater is None:
                body += rest
                rest = b""
            else:
                try:
                    body += inflater.decompress(rest, INFLATE_NBYTES)
                except zlib.error:
                    raise InvalidRequest("the request body is not gzip") from None
                rest = inflater.unconsumed_tail
            if len(body) > max_nbytes:
                raise LimitExceeded(
                    f"the request body exceeds {max_nbytes} bytes",
                    setting="limits.git_request_nbytes",
                )
    return bytes(body)


def _version(request: Request) -> int:
    return asked_version(request.headers.get("git-protocol", ""))


def _find_open(hub: Hub, caller: Principal | None, name: RepoName) -> Repo:
    with hub.db.read() as session:
        return name.find_open(session, caller)


def _find_writable(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    with hub.db.read() as session:
        return name.find_writable(session, caller)
