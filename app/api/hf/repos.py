"""Repositories made, changed and removed."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from app.api.deps import (
    Caller,
    HubDep,
    RepoName,
    RepoNameDep,
    SignedIn,
    base_url,
)
from app.api.json_body import read_json
from app.api.routing import RepoType, repo_path_prefix
from app.catalog.repos import delete_repo, repo_id, set_private
from app.db.tables import Repo
from app.errors import Conflict, InvalidRequest
from app.ingest.creation import create_repo

router = APIRouter()

Visibility = Literal["public", "private"]


class RepoReference(BaseModel):
    """A repo as create and delete name it; ``name`` may carry the namespace (older clients)."""

    name: str
    organization: str | None = None
    type: RepoType | None = None

    def resolve(self, default_namespace: str) -> RepoName:
        """The repo named, in the caller's own namespace by default."""
        namespace, slash, name = self.name.rpartition("/")
        if "/" in namespace:
            raise InvalidRequest("a repository id has one slash at most")
        if slash and self.organization not in {None, namespace}:
            raise InvalidRequest("name and organization disagree")
        return RepoName(
            self.type or "model", namespace or self.organization or default_namespace, name
        )


class NewRepo(RepoReference):
    """Body of create."""

    visibility: Visibility | None = None
    private: bool | None = None


class RepoSettings(BaseModel):
    """Body of settings."""

    model_config = ConfigDict(extra="forbid")

    visibility: Visibility | None = None
    private: bool | None = None
    gated: Literal[False] | None = None


@router.post("/api/repos/create")
async def create(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Make a repo with its initial commit."""
    body = await read_json(request, hub.settings.limits, NewRepo)
    wanted = body.resolve(caller.name)
    private = _is_private(body.visibility, body.private) or False
    url = f"{base_url(request)}/{repo_path_prefix(wanted.repo_type)}"

    def work() -> dict[str, Any]:
        try:
            repo = create_repo(
                hub, caller, wanted.repo_type, wanted.namespace, wanted.name, private=private
            )
        except Conflict as error:
            url_taken = f"{url}{wanted.namespace}/{wanted.name}"
            raise Conflict(error.message, url=url_taken) from error
        with hub.db.read() as session:
            full_name = repo_id(session, repo)
        return {
            "url": url + full_name,
            "name": full_name,
            "id": f"{repo.id:024x}",
            "private": repo.private,
        }

    return await run_in_threadpool(work)


@router.delete("/api/repos/delete")
async def delete(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Remove a repo with its history."""
    body = await read_json(request, hub.settings.limits, RepoReference)
    wanted = body.resolve(caller.name)

    def work() -> None:
        with hub.db.read() as session:
            repo = wanted.find_writable(session, caller)
        delete_repo(hub, repo)

    await run_in_threadpool(work)
    return {}


@router.put("/api/{repo_type:repotype}/{namespace}/{name}/settings")
async def change_settings(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Change who may see a repo."""
    body = await read_json(request, hub.settings.limits, RepoSettings)
    private = _is_private(body.visibility, body.private)

    def work() -> Repo:
        with hub.db.read() as session:
            repo = name.find_writable(session, caller)
        return repo if private is None else set_private(hub, repo, private)

    repo = await run_in_threadpool(work)
    return {"private": repo.private, "visibility": _visibility(repo), "gated": False}


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/auth-check")
def check_read(hub: HubDep, caller: Caller, name: RepoNameDep) -> dict[str, Any]:
    """200 if the caller may read the repo."""
    with hub.db.read() as session:
        name.find(session, caller)
    return {}


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/auth-check/write")
def check_write(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """200 if the caller may write to the repo."""
    with hub.db.read() as session:
        name.find_writable(session, caller)
    return {}


def _is_private(visibility: Visibility | None, private: bool | None) -> bool | None:
    return private if visibility is None else visibility == "private"


def _visibility(repo: Repo) -> Visibility:
    return "private" if repo.private else "public"
