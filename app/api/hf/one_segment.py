"""Ids without a namespace: legal to ask for, never found here; an upstream may know the owner.

Registered after all other routes, which would otherwise take the verb for the repo's name.
"""

from fastapi import APIRouter, Request

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller
from app.api.mirroring import get_mirror, waiting_apart
from app.api.routing import RepoType
from app.errors import RepoMoved, RepoNotFound

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
API_VERBS = ("revision", "tree", "paths-info", "commits", "preupload", "commit", "branch", "tag")


async def no_namespace(
    request: Request, caller: Caller, name: str, repo_type: RepoType = "model"
) -> None:
    """404 RepoNotFound; on a mirror the way to the repo that the upstream has by this name."""
    mirror = get_mirror(request)
    if mirror is None or request.method not in {"GET", "HEAD"}:
        raise RepoNotFound(f"Repository not found: {name}")
    found = await waiting_apart(lambda: mirror.find_short(repo_type, name, caller))
    raise RepoMoved(found.full_name)


for path in (
    "/api/{repo_type:repotype}/{name}",
    "/api/{repo_type:repotype}/{name}/refs",
    *(f"/api/{{repo_type:repotype}}/{{name}}/{verb}" for verb in ("duplicate", "like", "settings")),
    *(f"/api/{{repo_type:repotype}}/{{name}}/{verb}/{{rest:path}}" for verb in API_VERBS),
    "/{repo_type:typeprefix}{name}/resolve/{rest:path}",
):
    router.add_api_route(path, no_namespace, methods=METHODS)
