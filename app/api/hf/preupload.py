"""What a client asks before it uploads: which files go through LFS, which are there already."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.api.deps import HubDep, RepoNameDep, Revision, SignedIn
from app.api.json_body import read_json
from app.api.request_bodies import takes
from app.api.small_files import SmallFilesDep
from app.catalog.attributes import goes_through_lfs
from app.catalog.listing import Entry, find_entries
from app.catalog.paths import check_path
from app.catalog.patterns import is_ignored, parse_ignore
from app.catalog.refs import resolve_revision
from app.errors import LimitExceeded

router = APIRouter(tags=["commits"])

ATTRIBUTES = ".gitattributes"
IGNORE = ".gitignore"


class PlannedFile(BaseModel):
    """A file the client means to upload; its ``sample`` is not needed to decide."""

    path: str
    size: int = Field(ge=0)


class UploadPlan(BaseModel):
    """Body of preupload."""

    files: list[PlannedFile]
    gitIgnore: str | None = None  # noqa: N815  the clients' name


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/preupload/{revision:quoted}")
@takes(UploadPlan)
async def preupload(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: Revision,
    create_pr: bool = False,
) -> dict[str, Any]:
    """Mode, ignored or not, and the id of the present content, per file."""
    limits = hub.settings.limits
    plan = await read_json(request, limits, UploadPlan)
    if len(plan.files) > limits.preupload_files:
        raise LimitExceeded("too many files", setting="limits.preupload_files")

    def work() -> dict[str, Any]:
        paths = [check_path(file.path, limits) for file in plan.files]
        with hub.db.read() as session:
            repo = name.find_target(session, caller, revision, create_pr=create_pr)
            commit = resolve_revision(session, repo, revision)
            present = find_entries(session, repo.id, commit.tree_oid, [ATTRIBUTES, IGNORE, *paths])

        def text_of(path: str) -> str:
            entry = present.get(path)
            if entry is None or entry.file_id is None:
                return ""
            return small_files.parse(entry.file_id, entry.nbytes, _as_text)

        attributes = text_of(ATTRIBUTES)
        ignored = parse_ignore(text_of(IGNORE) if plan.gitIgnore is None else plan.gitIgnore)
        answers = []
        for file in plan.files:
            is_lfs = goes_through_lfs(attributes, file.path, file.size, limits.regular_nbytes)
            answer = {
                "path": file.path,
                "uploadMode": "lfs" if is_lfs else "regular",
                "shouldIgnore": is_ignored(ignored, file.path),
            }
            entry = present.get(file.path)
            if entry is not None and not entry.is_directory:
                answer["oid"] = _content_oid(entry)
            answers.append(answer)
        return {"files": answers, "commitOid": commit.oid}

    return await run_in_threadpool(work)


def _content_oid(entry: Entry) -> str:
    return entry.sha256.hex() if entry.is_lfs and entry.sha256 else entry.oid


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
