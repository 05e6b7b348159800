"""A repo's facts at a revision, and listings of repos."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import Caller, HubDep, RepoNameDep
from app.api.hf.repo_facts import RepoFacts, load_facts, load_listed_facts
from app.api.hf.repo_view import INFO_FIELDS, LISTING_FIELDS, RepoView
from app.api.pages import cursor_position, set_next_page
from app.api.routing import RepoType
from app.api.small_files import SmallFilesDep
from app.catalog.refs import resolve_revision
from app.catalog.repos import Cursor, ListedRepo, RepoQuery, SortKey, list_repos
from app.db.tables import Account
from app.errors import InvalidRequest

router = APIRouter()

REPOS_PER_PAGE = 100
MAX_REPOS_PER_PAGE = 1_000

SORT_KEYS: dict[str, SortKey] = {
    "createdAt": "createdAt",
    "lastModified": "lastModified",
    "downloads": "downloads",
    "trendingScore": "downloads",
    "likes": "downloads",
}
"""Nobody likes repos here yet, so liked and trending mean downloaded."""

Expand = Annotated[list[str], Query()]


@router.get("/api/{repo_type:repotype}/{namespace}/{name}")
@router.get("/api/{repo_type:repotype}/{namespace}/{name}/revision/{revision:quoted}")
def repo_info(
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: str | None = None,
    blobs: bool = False,
    expand: Expand = [],  # noqa: B006  FastAPI copies it
) -> dict[str, Any]:
    """Facts about a repo; ``expand`` names those wanted, default is the usual set."""
    fields = expand or INFO_FIELDS[name.repo_type]
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision or hub.settings.default_branch)
        namespace = session.get_one(Account, repo.namespace_id).name
        facts = load_facts(session, ListedRepo(repo, namespace), commit, fields)
    return RepoView(facts, small_files, blobs=blobs).render(fields)


@router.get("/api/{repo_type:repotype}")
def list_all(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    repo_type: RepoType,
    search: str = "",
    author: str = "",
    sort: str = "lastModified",
    direction: int = -1,
    limit: int = REPOS_PER_PAGE,
    full: bool = False,
    card_data: Annotated[bool, Query(alias="cardData")] = False,
    config: bool = False,
    expand: Expand = [],  # noqa: B006  FastAPI copies it
    cursor: str | None = None,
) -> list[dict[str, Any]]:
    """Repos that exist for the caller, by search text and owner, a page at a time."""
    if sort not in SORT_KEYS:
        raise InvalidRequest(f"sort: one of {', '.join(SORT_KEYS)}")
    query = RepoQuery(repo_type, search, author, SORT_KEYS[sort], ascending=direction == 1)
    extra = {"siblings": full, "cardData": full or card_data, "config": full or config}
    fields = expand or [*LISTING_FIELDS, *(name for name, wanted in extra.items() if wanted)]
    with hub.db.read() as session:
        page, last = list_repos(
            session,
            caller,
            query,
            after=_cursor(query, cursor),
            limit=max(1, min(limit, MAX_REPOS_PER_PAGE)),
        )
        facts = load_listed_facts(session, page, hub.settings.default_branch)
        if {"siblings", "safetensors", "usedStorage"} & set(fields):
            facts = [_more(session, each, fields) for each in facts]
    if last is not None:
        value, row_id = last
        text = value.isoformat() if isinstance(value, datetime) else value
        set_next_page(request, response, [text, row_id])
    return [RepoView(each, small_files).render(fields) for each in facts]


def _more(session: Session, facts: RepoFacts, fields: list[str]) -> RepoFacts:
    if facts.commit is None:
        return facts
    return load_facts(session, facts.listed, facts.commit, fields)


def _cursor(query: RepoQuery, cursor: str | None) -> Cursor | None:
    position = cursor_position(cursor)
    if position is None:
        return None
    try:
        value, row_id = position
        if query.sort == "downloads":
            return int(value), int(row_id)
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment, int(row_id)
    except (TypeError, ValueError):
        raise InvalidRequest("the cursor is not one of ours") from None
