"""What the Hugging Face Hub has and this hub leaves out: a clear 501 with the reason.

Registered before the wide patterns, which would answer as if a repo were missing.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BeforeValidator

from app.api.routing import RepoType
from app.errors import NotOffered

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

SPACE = "/api/spaces/{namespace}/{name}"
NO_BUCKETS = "this hub stores git repositories, not buckets"
NO_KERNELS = "this hub stores models, datasets and spaces, not kernels"
NOT_RUN = "spaces are stored here, not run"
LEFT_OUT = {
    "/api/buckets/{rest:path}": NO_BUCKETS,
    "/buckets/{rest:path}": NO_BUCKETS,
    "/api/collections": "this hub has no collections",
    "/api/collections/{rest:path}": "this hub has no collections",
    "/api/daily_papers": "this hub has no papers",
    "/api/papers/{rest:path}": "this hub has no papers",
    "/papers/{rest:path}": "this hub has no papers",
    "/uploads": "nothing is attached to discussions here: commit the file and link to it",
    "/api/jobs/{rest:path}": "this hub runs no jobs of its users",
    "/api/scheduled-jobs/{rest:path}": "this hub runs no jobs of its users",
    "/api/kernels": NO_KERNELS,
    "/api/kernels/{rest:path}": NO_KERNELS,
    "/api/settings/webhooks": "this hub has no webhooks",
    "/api/settings/webhooks/{rest:path}": "this hub has no webhooks",
    "/api/datasets/{namespace}/{name}/leaderboard": "this hub has no leaderboards",
    "/api/datasets/{namespace}/{name}/parquet": "this hub converts no datasets",
    "/api/spaces/semantic-search": NOT_RUN,
    "/api/spaces/templates": NOT_RUN,
    "/api/spaces/hardware": NOT_RUN,
    "/api/spaces/zero-gpu/quota": NOT_RUN,
    SPACE + "/runtime": NOT_RUN,
    SPACE + "/secrets": NOT_RUN,
    SPACE + "/variables": NOT_RUN,
    SPACE + "/hardware": NOT_RUN,
    SPACE + "/sleeptime": NOT_RUN,
    SPACE + "/pause": NOT_RUN,
    SPACE + "/restart": NOT_RUN,
    SPACE + "/dev-mode": NOT_RUN,
    SPACE + "/storage": NOT_RUN,
    SPACE + "/volumes": NOT_RUN,
    SPACE + "/logs/{rest:path}": NOT_RUN,
    "/oauth/device": "log in with a token: hf auth login --token",
    "/oauth/token": "log in with a token: hf auth login --token",
}
"""Path -> why not."""

OTHER_TYPES = {"bucket": NO_BUCKETS, "kernel": NO_KERNELS}


def _refuse_other_types(value: object) -> object:
    if isinstance(value, str) and value in OTHER_TYPES:
        raise NotOffered(OTHER_TYPES[value])
    return value


StoredType = Annotated[RepoType, BeforeValidator(_refuse_other_types)]
"""A type of repository in a body."""

OTHER_TYPE: dict[int | str, dict[str, Any]] = {501: {}}
"""The answer where a body names a type of repository that is stored elsewhere."""


@router.api_route("/api/telemetry/{rest:path}", methods=["HEAD", "POST"], status_code=204)
def telemetry() -> Response:
    """Taken note of by nobody."""
    return Response(status_code=204)


def _refusal(reason: str) -> Callable[[], None]:
    def refuse() -> None:
        """501 with the reason."""
        raise NotOffered(reason)

    return refuse


for path, reason in LEFT_OUT.items():
    router.add_api_route(path, _refusal(reason), methods=METHODS)
