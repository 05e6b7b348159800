"""Models, datasets and spaces, listed by name, owner, tags and size; and the tags in use."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import Caller, HubDep
from app.api.hf.fields import LISTED, check_expand
from app.api.hf.repo_facts import load_listed_facts
from app.api.hf.repo_view import RepoView
from app.api.pages import cursor_position, set_next_page
from app.api.routing import RepoType
from app.api.small_files import SmallFilesDep
from app.catalog.search import Cursor, RepoQuery, SortKey, list_repos
from app.catalog.tag_lists import KINDS, list_tags
from app.errors import InvalidRequest

router = APIRouter(tags=["repositories"])

REPOS_PER_PAGE = 100
MAX_REPOS_PER_PAGE = 1_000

SORT_KEYS: dict[str, SortKey] = {
    "createdAt": "createdAt",
    "lastModified": "lastModified",
    "downloads": "downloads",
    "likes": "likes",
    "trendingScore": "likes",
}

APPS = {
    "mlx-lm": "mlx",
    "sglang": "safetensors",
    "vllm": "safetensors",
} | dict.fromkeys(
    ["jan", "koboldcpp", "llama-cpp-python", "llama.cpp", "lmstudio", "ollama"], "gguf"
)
"""Local app -> tag of the models that it runs."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_LARGEST = (1 << 63) - 1
"""Number that a database column holds."""

_BOUND = re.compile(r"(min|max):(\d{1,12}(?:\.\d{1,6})?)([KMBT]?)", re.IGNORECASE)

Texts = Annotated[list[str], Query()]


@router.get("/api/{repo_type:repotype}")
def list_all(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    repo_type: RepoType,
    search: Texts = [],  # noqa: B006  FastAPI copies it, and those below
    author: str = "",
    tags: Annotated[list[str], Query(alias="filter")] = [],  # noqa: B006
    pipeline_tag: str = "",
    apps: Texts = [],  # noqa: B006
    gated: bool | None = None,
    num_parameters: str = "",
    inference: Texts = [],  # noqa: B006
    inference_provider: Texts = [],  # noqa: B006
    sort: str = "lastModified",
    direction: int = -1,
    limit: int = REPOS_PER_PAGE,
    full: bool = False,
    card_data: Annotated[bool, Query(alias="cardData")] = False,
    config: bool = False,
    expand: Texts = [],  # noqa: B006
    cursor: str | None = None,
) -> list[dict[str, Any]]:
    """Repos that exist for the caller, a page at a time; all conditions hold for each."""
    if sort not in SORT_KEYS:
        raise InvalidRequest(f"sort: one of {', '.join(SORT_KEYS)}")
    fields = [*check_expand(repo_type, expand)]
    if not fields:
        extra = {"siblings": full, "cardData": full or card_data}
        extra |= {"config": config or full} if repo_type == "model" else {}
        fields = [*LISTED[repo_type], *(name for name, wanted in extra.items() if wanted)]
    if inference or inference_provider:
        return []  # no inference provider serves models of this hub
    query = RepoQuery(
        repo_type,
        " ".join(search),
        author,
        tags=tuple(dict.fromkeys([*tags, *filter(None, [pipeline_tag]), *_app_tags(apps)])),
        gated=gated,
        parameters=_parameters(num_parameters),
        sort=SORT_KEYS[sort],
        ascending=direction == 1,
    )
    with hub.db.read() as session:
        page, last = list_repos(
            session,
            caller,
            query,
            after=_cursor(query, cursor),
            limit=max(1, min(limit, MAX_REPOS_PER_PAGE)),
        )
        facts = load_listed_facts(session, caller, page, hub.settings.default_branch, fields)
    if last is not None:
        value, row_id = last
        text = value.isoformat() if isinstance(value, datetime) else value
        set_next_page(request, response, [text, row_id])
    return [RepoView(each, small_files).render(fields) for each in facts]


@router.get("/api/{repo_type:repotype}-tags-by-type")
def list_tags_in_use(
    hub: HubDep,
    caller: Caller,
    repo_type: RepoType,
    kind: Annotated[str, Query(alias="type")] = "",
) -> dict[str, list[dict[str, str]]]:
    """The tags of what is public and of the caller's own namespaces, by what they are about."""
    if kind and kind not in KINDS[repo_type]:
        raise InvalidRequest(f"type: one of {', '.join(KINDS[repo_type])}")
    with hub.db.read() as session:
        found = list_tags(session, caller, repo_type)
    return {
        about: [{"type": about, "label": tag.removeprefix(f"{about}:"), "id": tag} for tag in tags]
        for about, tags in found.items()
        if kind in {"", about}
    }


def _app_tags(apps: list[str]) -> list[str]:
    unknown = [app for app in apps if app not in APPS]
    if unknown:
        raise InvalidRequest(f"apps: {unknown[0][:40]!a} is none of {', '.join(sorted(APPS))}")
    return [APPS[app] for app in apps]


def _parameters(text: str) -> tuple[int | None, int | None] | None:
    """``min:6B,max:128B``, either part alone."""
    if not text:
        return None
    bounds: dict[str, int] = {}
    for part in text.split(","):
        match = _BOUND.fullmatch(part.strip())
        if match is None:
            raise InvalidRequest("num_parameters: like min:6B,max:128B")
        number = int(float(match[2]) * _UNITS[match[3].upper()])
        bounds[match[1].lower()] = min(number, _LARGEST)
    return bounds.get("min"), bounds.get("max")


def _cursor(query: RepoQuery, cursor: str | None) -> Cursor | None:
    position = cursor_position(cursor)
    if position is None:
        return None
    try:
        value, row_id = position
        row_id = _key(row_id)
        if query.sort in {"downloads", "likes"}:
            return _key(value), row_id
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC), row_id
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest("the cursor is not one of ours") from None


def _key(value: object) -> int:
    """A number that a database column holds."""
    number = int(str(value))
    if abs(number) > _LARGEST:
        raise ValueError("too big")
    return number
