"""Pages of discussions and pull requests: those of a repo, and one with all that happened in it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller, HubDep, RepoNameDep
from app.api.hf.discussions import PER_PAGE, Number
from app.api.small_files import SmallFilesDep
from app.catalog.diffs import patch_text
from app.catalog.merging import find_conflicts, proposed_changes
from app.catalog.threads import Kind, StatusFilter, list_discussions, load_thread
from app.web.heads import read_head
from app.web.markdown import Renderer
from app.web.rendering import render, with_query

router = APIRouter(include_in_schema=False)

ADDRESS = "/{repo_type:typeprefix}{namespace}/{name}/discussions"


@router.get(ADDRESS)
def discussions_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    p: Annotated[int, Query(ge=0, lt=1 << 24)] = 0,
    kind: Annotated[Kind, Query(alias="type")] = "all",
    status: StatusFilter = "open",
) -> HTMLResponse:
    """Discussions and pull requests of a repo, newest first."""
    start = p * PER_PAGE
    with hub.db.read() as session:
        head = read_head(session, caller, name)
        count, found = list_discussions(
            session, head.repo, kind=kind, status=status, start=start, limit=PER_PAGE
        )
    pages = {"newer": p - 1 if p else None, "older": p + 1 if start + PER_PAGE < count else None}
    return render(
        request,
        "discussions.html",
        head=head,
        threads=True,
        found=found,
        count=count,
        kind=kind,
        status=status,
        pages={way: with_query(request, p=to) for way, to in pages.items() if to is not None},
        filtered=lambda **changed: with_query(request, **{"p": 0, **changed}),
    )


@router.get(ADDRESS + "/{number}")
def discussion_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    number: Number,
) -> HTMLResponse:
    """A thread; of a pull request, what it changes and what keeps it from being merged as well."""
    changes, conflicts = None, None
    with hub.db.read() as session:
        head = read_head(session, caller, name)
        thread = load_thread(session, head.repo, number)
        if thread.discussion.target is not None and head.is_open:
            changes = proposed_changes(session, head.repo, thread.discussion)
            conflicts = find_conflicts(session, head.repo, thread.discussion)
    root, branch = request.scope.get("root_path", ""), hub.settings.default_branch
    files = f"{root}/{head.address}/resolve/{branch}/"

    diff = None if changes is None else patch_text(changes, small_files.text_of)
    return render(
        request,
        "discussion.html",
        head=head,
        threads=True,
        found=thread.discussion,
        author=thread.author,
        events=thread.events,
        conflicts=conflicts,
        diff=diff,
        shown=Renderer(files=files),
    )
