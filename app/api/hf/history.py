"""What takes something out of a repo's history: squashing a branch, forgetting big files."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from app.accounts.permissions import can_write
from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import HubDep, RepoName, RepoNameDep, SignedIn, parse_repo_name
from app.api.hf.out_of_scope import OTHER_TYPE, StoredType
from app.api.json_body import read_json
from app.api.pages import set_next_page, whole_number
from app.api.request_bodies import takes
from app.catalog.copies import grant_copies
from app.catalog.lfs_files import LfsFile, list_lfs_files
from app.catalog.refs import BRANCH, branch_ref
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.db.tables import Repo
from app.errors import InvalidRequest
from app.hub import Hub

router = APIRouter(tags=["revisions"])

ADDRESS = "/api/{repo_type:repotype}/{namespace}/{name}"
MOST_FILES = 1_000
"""In one request to forget or to copy; the clients send as many."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Squash(BaseModel):
    """Body of super-squash."""

    message: str


class Deletions(BaseModel):
    """Which files to forget, by SHA-256."""

    sha: list[Sha256] = Field(max_length=MOST_FILES)
    rewriteHistory: bool = True  # noqa: N815  the clients' name


class Batch(BaseModel):
    """Body of lfs-files/batch."""

    deletions: Deletions


class CopiedFile(BaseModel):
    """A file to copy; ``xetHash`` says nothing that its SHA-256 does not."""

    sha256: Sha256
    filename: str = ""


class CopyTarget(BaseModel):
    """The repo that shall have the files."""

    type: StoredType = "model"
    name: str


class Copies(BaseModel):
    """Body of lfs-files/duplicate."""

    target: CopyTarget
    files: list[CopiedFile] = Field(max_length=MOST_FILES)


@router.post(ADDRESS + "/super-squash/{branch:quoted}")
@takes(Squash)
async def super_squash(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep, branch: str
) -> dict[str, Any]:
    """Make one commit of a branch's history."""
    body = await read_json(request, hub.settings.limits, Squash)

    def work() -> dict[str, Any]:
        commit = squash(hub, caller, _writable(hub, caller, name), branch_ref(branch), body.message)
        return {"commitOid": commit.oid}

    return await run_in_threadpool(work)


@router.get(ADDRESS + "/lfs-files")
def lfs_files(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: SignedIn,
    name: RepoNameDep,
    cursor: str | None = None,
) -> list[dict[str, Any]]:
    """The big files of all commits, in the order in which the hub came to know them."""
    after = whole_number(cursor)
    with hub.db.read() as session:
        repo = name.find_writable(session, caller)
        default_ref = BRANCH + hub.settings.default_branch
        files, following = list_lfs_files(session, repo, default_ref, after=after)
    if following is not None:
        set_next_page(request, response, following)
    return [_described(file) for file in files]


@router.post(ADDRESS + "/lfs-files/batch")
@takes(Batch)
async def forget_lfs_files(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Take big files out of every commit."""
    wanted = (await read_json(request, hub.settings.limits, Batch)).deletions
    if not wanted.rewriteHistory:
        raise InvalidRequest(
            "this hub removes files by rewriting history only: what a commit names can be read"
        )
    digests = [bytes.fromhex(each) for each in wanted.sha]

    def work() -> int:
        return forget_files(hub, _writable(hub, caller, name), digests)

    return {"deleted": await run_in_threadpool(work)}


@router.post(ADDRESS + "/lfs-files/duplicate", responses=OTHER_TYPE)
@takes(Copies)
async def duplicate_lfs_files(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Let the caller commit, or propose, big files of this repo elsewhere without sending them."""
    body = await read_json(request, hub.settings.limits, Copies)
    namespace, _, target_name = body.target.name.partition("/")
    target_repo = parse_repo_name(body.target.type, namespace, target_name)
    digests = [bytes.fromhex(file.sha256) for file in body.files]

    def work() -> set[bytes]:
        with hub.db.read() as session:
            source = name.find_open(session, caller)
            target = target_repo.find_target(session, caller, None, create_pr=True)
            proposer = None if can_write(session, caller, target) else caller.account_id
        return grant_copies(hub, source, target, digests, proposer=proposer)

    granted = await run_in_threadpool(work)
    return {
        "success": [{"sha256": each.hex()} for each in dict.fromkeys(digests) if each in granted],
        "failed": [
            {"sha256": each.hex(), "error": "not a file of this repository"}
            for each in dict.fromkeys(digests)
            if each not in granted
        ],
    }


def _writable(hub: Hub, caller: Principal, name: RepoName) -> Repo:
    with hub.db.read() as session:
        return name.find_writable(session, caller)


def _described(file: LfsFile) -> dict[str, Any]:
    return {
        "fileOid": file.sha256.hex(),
        "oid": file.sha256.hex(),
        "filename": file.path,
        "size": file.nbytes,
        "pushedAt": wire_date(file.pushed_at),
        "ref": file.ref,
    }
