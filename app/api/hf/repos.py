"""Repositories made, changed, moved, copied and removed."""

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
    parse_repo_name,
)
from app.api.hf.out_of_scope import OTHER_TYPE, StoredType
from app.api.json_body import read_json
from app.api.request_bodies import takes
from app.api.routing import RepoType, repo_path_prefix
from app.catalog.duplicating import duplicate_repo
from app.catalog.moving import move_repo
from app.catalog.repos import Gate, change_settings, delete_repo, repo_id
from app.db.tables import Repo
from app.errors import Conflict, InvalidRequest
from app.hub import Hub
from app.ingest.creation import create_repo

router = APIRouter(tags=["repositories"])

Visibility = Literal["public", "private", "protected"]
"""A protected space shows its app to everybody and its files to members; no app runs here."""


class RepoReference(BaseModel):
    """A repo as create and delete name it; ``name`` may carry the namespace (older clients)."""

    name: str
    organization: str | None = None
    type: StoredType | None = None

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
    sdk: str | None = None


class RepoSettings(BaseModel):
    """Body of settings."""

    model_config = ConfigDict(extra="forbid")

    visibility: Visibility | None = None
    private: bool | None = None
    gated: Gate | None = None


class Move(BaseModel):
    """Body of move; both ids with their namespaces."""

    fromRepo: str  # noqa: N815  the clients' name
    toRepo: str  # noqa: N815  the clients' name
    type: StoredType = "model"


class Duplicate(BaseModel):
    """Body of duplicate."""

    repository: str
    visibility: Visibility | None = None
    private: bool | None = None


@router.post("/api/repos/create", responses=OTHER_TYPE)
@takes(NewRepo)
async def create(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Make a repo with its initial commit."""
    body = await read_json(request, hub.settings.limits, NewRepo)
    wanted = body.resolve(caller.name)
    private = _is_private(wanted.repo_type, body.visibility, body.private)

    def work() -> dict[str, Any]:
        try:
            repo = create_repo(
                hub,
                caller,
                wanted.repo_type,
                wanted.namespace,
                wanted.name,
                private=private,
                sdk=body.sdk,
            )
        except Conflict as error:
            raise _taken(request, wanted, error) from error
        return _created(request, hub, repo)

    return await run_in_threadpool(work)


@router.delete("/api/repos/delete", responses=OTHER_TYPE)
@takes(RepoReference)
async def delete(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Remove a repo with its history."""
    body = await read_json(request, hub.settings.limits, RepoReference)
    wanted = body.resolve(caller.name)

    def work() -> None:
        with hub.db.read() as session:
            repo = wanted.find_owned(session, caller)
        delete_repo(hub, repo)

    await run_in_threadpool(work)
    return {}


@router.post("/api/repos/move", responses=OTHER_TYPE)
@takes(Move)
async def move(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Rename a repo or hand it over; its old name leads to the new one."""
    body = await read_json(request, hub.settings.limits, Move)
    source = _named(body.type, body.fromRepo)
    target = _split(body.toRepo)

    def work() -> dict[str, Any]:
        with hub.db.read() as session:
            repo = source.find_writable(session, caller)
        moved = move_repo(hub, caller, repo, *target)
        return {"url": _url(request, hub, moved)}

    return await run_in_threadpool(work)


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/duplicate")
@takes(Duplicate)
async def duplicate(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Copy a repo with its history; no bytes are copied, so nothing is pending afterwards."""
    body = await read_json(request, hub.settings.limits, Duplicate)
    target = _split(body.repository)
    private = _is_private(name.repo_type, body.visibility, body.private)

    def work() -> dict[str, Any]:
        with hub.db.read() as session:
            repo = name.find_open(session, caller)
        try:
            copy = duplicate_repo(hub, caller, repo, *target, private=private)
        except Conflict as error:
            raise _taken(request, RepoName(name.repo_type, *target), error) from error
        return _created(request, hub, copy) | {"filesCopyPending": False}

    return await run_in_threadpool(work)


@router.put("/api/{repo_type:repotype}/{namespace}/{name}/settings")
@takes(RepoSettings)
async def set_settings(
    request: Request, hub: HubDep, caller: SignedIn, name: RepoNameDep
) -> dict[str, Any]:
    """Change who may see a repo and who may read its files."""
    body = await read_json(request, hub.settings.limits, RepoSettings)
    private = _is_private(name.repo_type, body.visibility, body.private)

    def work() -> Repo:
        with hub.db.read() as session:
            repo = name.find_writable(session, caller)
        if private is None and body.gated is None:
            return repo
        return change_settings(hub, repo, private=private, gated=body.gated)

    repo = await run_in_threadpool(work)
    return {
        "private": repo.private,
        "visibility": "private" if repo.private else "public",
        "gated": repo.gated or False,
    }


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/auth-check")
def check_read(hub: HubDep, caller: Caller, name: RepoNameDep) -> dict[str, Any]:
    """200 if the caller may read the repo and its files."""
    with hub.db.read() as session:
        name.find_open(session, caller)
    return {}


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/auth-check/write")
def check_write(hub: HubDep, caller: SignedIn, name: RepoNameDep) -> dict[str, Any]:
    """200 if the caller may write to the repo."""
    with hub.db.read() as session:
        name.find_writable(session, caller)
    return {}


def _is_private(
    repo_type: RepoType, visibility: Visibility | None, private: bool | None
) -> bool | None:
    """None: not said."""
    if visibility == "protected" and repo_type != "space":
        raise InvalidRequest("only spaces can be protected")
    return private if visibility is None else visibility != "public"


def _named(repo_type: RepoType, full_name: str) -> RepoName:
    """Raises RepoNotFound for a name that no repo can have."""
    namespace, name = _split(full_name)
    return parse_repo_name(repo_type, namespace, name)


def _split(full_name: str) -> tuple[str, str]:
    namespace, slash, name = full_name.partition("/")
    if not slash or "/" in name:
        raise InvalidRequest(f"a repository id is namespace/name, not {full_name[:200]!a}")
    return namespace, name


def _created(request: Request, hub: Hub, repo: Repo) -> dict[str, Any]:
    with hub.db.read() as session:
        full_name = repo_id(session, repo)
    return {
        "url": _url(request, hub, repo),
        "name": full_name,
        "id": f"{repo.id:024x}",
        "private": repo.private,
    }


def _url(request: Request, hub: Hub, repo: Repo) -> str:
    with hub.db.read() as session:
        full_name = repo_id(session, repo)
    prefix = repo_path_prefix(repo.type)  # pyright: ignore[reportArgumentType]
    return f"{base_url(request)}/{prefix}{full_name}"


def _taken(request: Request, name: RepoName, error: Conflict) -> Conflict:
    """With the URL of what is in the way: the clients read it when they are told ``exist_ok``."""
    prefix = repo_path_prefix(name.repo_type)
    return Conflict(error.message, url=f"{base_url(request)}/{prefix}{name.namespace}/{name.name}")
