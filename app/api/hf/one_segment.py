"""Ids without a namespace: legal to ask for, never found.

Registered after all other routes, which would otherwise take the verb for the repo's name.
"""

from fastapi import APIRouter

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.errors import RepoNotFound

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
API_VERBS = ("revision", "tree", "paths-info", "commits", "preupload", "commit", "branch", "tag")


def no_namespace(name: str) -> None:
    """404 RepoNotFound."""
    raise RepoNotFound(f"Repository not found: {name}")


for path in (
    "/api/{repo_type:repotype}/{name}",
    "/api/{repo_type:repotype}/{name}/refs",
    *(f"/api/{{repo_type:repotype}}/{{name}}/{verb}" for verb in ("duplicate", "like", "settings")),
    *(f"/api/{{repo_type:repotype}}/{{name}}/{verb}/{{rest:path}}" for verb in API_VERBS),
    "/{repo_type:typeprefix}{name}/resolve/{rest:path}",
):
    router.add_api_route(path, no_namespace, methods=METHODS)
