"""git-lfs: the batch question, objects in one piece or in parts, verification.

Source: git-lfs ``docs/api/batch.md`` and ``docs/api/basic-transfers.md``; the multipart transfer is
that of the Hugging Face client (``lfs_upload``): part links among the headers of the upload action.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.accounts.tokens import Principal
from app.api.body import check_declared, run_on_upload_thread, with_body
from app.api.deps import Caller, HubDep, RepoName, base_url, parse_repo_name
from app.api.errors import error_response
from app.api.json_body import read_json
from app.api.mirroring import keep_mirrored
from app.api.moved import moved_location
from app.api.pace import Pace
from app.api.ranges import requested_range
from app.api.request_bodies import sends, takes, takes_bytes
from app.api.routing import RepoType
from app.api.sending import StreamedBody
from app.db.tables import Repo
from app.errors import HubError, InvalidRequest, LimitExceeded, NotFound, RepoMoved, Unauthorized
from app.hub import Hub
from app.lfs import capability
from app.lfs.batch import ObjectAnswer, WantedObject, plan_downloads, plan_uploads
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from app.lfs.objects import find_object, store_object, verify_object
from app.mirror.following import open_file

MEDIA_TYPE = "application/vnd.git-lfs+json"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class LfsJson(JSONResponse):
    """JSON under the name that git-lfs gives it."""

    media_type = MEDIA_TYPE


class LfsRoute(APIRoute):
    """Answers errors in the shape of git-lfs: ``message`` beside our own ``error``."""

    def get_route_handler(self) -> Handler:
        """The route's handler with errors translated."""
        handler = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handler(request)
            except HubError as error:
                return _lfs_error(request, error)

        return translated


router = APIRouter(tags=["lfs"], route_class=LfsRoute)


class ObjectQuestion(BaseModel):
    """One object of a batch."""

    model_config = ConfigDict(extra="ignore")

    oid: str = Field(max_length=256)
    size: int


class RefName(BaseModel):
    """The ref that the objects are meant for."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""


class BatchQuestion(BaseModel):
    """A batch request."""

    model_config = ConfigDict(extra="ignore")

    operation: Literal["upload", "download"]
    objects: list[ObjectQuestion]
    transfers: list[str] = ["basic"]
    hash_algo: Literal["sha256", "sha_256"] = "sha256"
    """The second is how huggingface.js and the Hub write it."""
    ref: RefName | None = None


class PartClaim(BaseModel):
    """A part that the client sent."""

    model_config = ConfigDict(extra="ignore")

    part_number: Annotated[int, Field(alias="partNumber")]
    etag: str


class Completion(BaseModel):
    """The end of a multipart upload."""

    model_config = ConfigDict(extra="ignore")

    oid: str
    parts: list[PartClaim]


class Verification(BaseModel):
    """An object that the client believes to have sent."""

    model_config = ConfigDict(extra="ignore")

    oid: str
    size: int


@router.post(
    "/{repo_type:typeprefix}{namespace}/{name}.git/info/lfs/objects/batch", response_class=LfsJson
)
@takes(BatchQuestion, MEDIA_TYPE)
async def lfs_batch(
    request: Request, hub: HubDep, caller: Caller, repo_type: RepoType, namespace: str, name: str
) -> Response:
    """Which objects to send, or where to get them."""
    limits = hub.settings.limits
    question = await read_json(request, limits, BatchQuestion)
    if len(question.objects) > limits.preupload_files:
        raise LimitExceeded(
            f"{len(question.objects)} objects in one batch", setting="limits.preupload_files"
        )
    wanted = [WantedObject(each.oid, each.size) for each in question.objects]
    repo_name = parse_repo_name(repo_type, namespace, name)
    links = _Links(base_url(request))
    if question.operation == "download":
        await keep_mirrored(request, lambda: caller, repo_type, namespace, name)
        answers = await run_in_threadpool(_plan_downloads, hub, caller, repo_name, wanted)
        return _lfs_json(
            {"transfer": "basic", "objects": [links.download(each) for each in answers]}
        )
    if caller is None:
        raise Unauthorized("credentials are needed to upload")
    can_multipart = "multipart" in question.transfers
    ref = question.ref.name if question.ref else ""
    repo = await run_in_threadpool(_find_target, hub, caller, repo_name, ref)
    batch = await run_in_threadpool(
        plan_uploads, hub, caller, repo, wanted, can_multipart=can_multipart
    )
    return _lfs_json(
        {
            "transfer": "multipart" if batch.multipart else "basic",
            "objects": [links.upload(each) for each in batch.answers],
            "hash_algo": "sha256",
        }
    )


@router.put("/lfs/objects/{sealed}", response_class=Response)
@takes_bytes("The object.")
async def put_object(request: Request, hub: HubDep, sealed: str) -> Response:
    """Take an object in one piece."""
    leave = capability.read(hub, sealed, "PUT")
    check_declared(request, leave.nbytes)
    await with_body(
        request,
        lambda buffers: store_object(hub, leave, buffers),
        pace=Pace.of(hub.settings),
    )
    return Response(status_code=200)


@router.get("/lfs/objects/{sealed}", responses=sends(ranges=True), response_class=Response)
def get_object(request: Request, hub: HubDep, sealed: str) -> Response:
    """An object's bytes, or one range of them."""
    leave = capability.read(hub, sealed, "GET")
    found = find_object(hub, leave)
    etag = f'"{leave.sha256.hex()}"'
    part = requested_range(request.headers, leave.nbytes, etag)
    start, stop = part or (0, leave.nbytes)
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "content-type": "application/octet-stream",
        "x-content-type-options": "nosniff",
    }
    if part is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{leave.nbytes}"
    reader = open_file(hub, leave.repo_id, found)
    return StreamedBody(reader, start, stop, status_code=206 if part else 200, headers=headers)


@router.put("/lfs/uploads/{sealed}/parts/{number}", response_class=Response)
@takes_bytes("The part.")
async def put_part(request: Request, hub: HubDep, sealed: str, number: int) -> Response:
    """Take one part of a multipart upload."""
    leave = capability.read(hub, sealed, "PARTS")
    etag = await with_body(
        request,
        lambda buffers: store_part(hub, leave, number, buffers),
        pace=Pace.of(hub.settings),
    )
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


@router.post("/lfs/uploads/{sealed}", response_class=LfsJson)
@takes(Completion, MEDIA_TYPE)
async def complete_multipart(request: Request, hub: HubDep, sealed: str) -> Response:
    """Join the parts of a multipart upload."""
    leave = capability.read(hub, sealed, "PARTS")
    completion = await read_json(request, hub.settings.limits, Completion)
    if completion.oid != leave.sha256.hex():
        raise InvalidRequest("the oid is not that of this upload")
    parts = [CompletedPart(part.part_number, part.etag) for part in completion.parts]
    await run_on_upload_thread(lambda: complete_upload(hub, leave, parts))
    return _lfs_json({"success": True})


@router.post("/lfs/verify/{sealed}", response_class=LfsJson)
@takes(Verification, MEDIA_TYPE)
async def verify(request: Request, hub: HubDep, sealed: str) -> Response:
    """Say whether an object arrived."""
    leave = capability.read(hub, sealed, "VERIFY")
    question = await read_json(request, hub.settings.limits, Verification)
    if (question.oid, question.size) != (leave.sha256.hex(), leave.nbytes):
        raise InvalidRequest("the object is not the one that this link is for")
    await run_in_threadpool(verify_object, hub, leave)
    return _lfs_json({})


LOCKS = "/{repo_type:typeprefix}{namespace}/{name}/info/lfs/locks"


@router.api_route(LOCKS, methods=["GET", "POST"], include_in_schema=False)
@router.api_route(LOCKS + "/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
def locks() -> Response:
    """There are no file locks; git-lfs knows by this status and goes on without a word."""
    raise NotFound("file locks are not offered by this hub")


class _Links:
    """Answers of the domain as git-lfs writes them, with absolute links."""

    def __init__(self, base: str) -> None:
        self._base = base

    def upload(self, answer: ObjectAnswer) -> dict[str, Any]:
        facts = _facts(answer)
        if answer.link is None:
            return facts
        header: dict[str, str] = {}
        href = f"{self._base}/lfs/objects/{answer.link}"
        if answer.part_nbytes:
            href = f"{self._base}/lfs/uploads/{answer.link}"
            header["chunk_size"] = str(answer.part_nbytes)
            for number in range(1, answer.parts + 1):
                header[f"{number:05}"] = f"{href}/parts/{number}"
        verify_href = f"{self._base}/lfs/verify/{answer.verify_link}"
        facts["authenticated"] = True
        facts["actions"] = {
            "upload": {"href": href, "header": header},
            "verify": {"href": verify_href},
        }
        return facts

    def download(self, answer: ObjectAnswer) -> dict[str, Any]:
        facts = _facts(answer)
        if answer.link is not None:
            facts["authenticated"] = True
            facts["actions"] = {"download": {"href": f"{self._base}/lfs/objects/{answer.link}"}}
        return facts


def _facts(answer: ObjectAnswer) -> dict[str, Any]:
    facts: dict[str, Any] = {"oid": answer.wanted.oid, "size": answer.wanted.nbytes}
    if answer.error is not None:
        code, message = answer.error
        facts["error"] = {"code": code, "message": message}
    return facts


def _find_target(hub: Hub, caller: Principal, repo_name: RepoName, ref: str) -> Repo:
    with hub.db.read() as session:
        # The clients name no ref when they are about to open a pull request.
        return repo_name.find_target(session, caller, ref, create_pr=not ref)


def _plan_downloads(
    hub: Hub, caller: Principal | None, repo_name: RepoName, wanted: list[WantedObject]
) -> list[ObjectAnswer]:
    with hub.db.read() as session:
        repo = repo_name.find_open(session, caller)
    return plan_downloads(hub, caller, repo, wanted)


def _lfs_json(body: dict[str, Any]) -> Response:
    return LfsJson(body)


def _lfs_error(request: Request, error: HubError) -> Response:
    plain = error_response(error, anonymous="authorization" not in request.headers)
    body = json.loads(bytes(plain.body)) | {
        "message": error.message,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
    }
    headers = {
        name: value
        for name, value in plain.headers.items()
        if name not in {"content-length", "content-type"}
    }
    if plain.status_code == 401:
        headers["LFS-Authenticate"] = 'Basic realm="clade"'
    location = moved_location(request, error.repo_id) if isinstance(error, RepoMoved) else None
    if location is not None:
        headers["Location"] = location
    return JSONResponse(
        body, 307 if location else plain.status_code, headers, media_type=MEDIA_TYPE
    )
