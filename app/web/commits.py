"""The page of one commit: who made it of what, and what it changed."""

from itertools import islice

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller, HubDep, RepoNameDep, Revision
from app.api.small_files import SmallFilesDep
from app.catalog.changes import changed_files
from app.catalog.diffs import MOST_FILES, patch_text
from app.catalog.git_objects import commit_parents
from app.catalog.refs import resolve_revision
from app.db.tables import Commit
from app.web.heads import read_head
from app.web.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/{repo_type:typeprefix}{namespace}/{name}/commit/{revision:quoted}")
def commit_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: Revision,
) -> HTMLResponse:
    """A commit, compared with its first parent."""
    with hub.db.read() as session:
        head = read_head(session, caller, name)
        commit = resolve_revision(session, head.repo, revision)
        parents = commit_parents(commit.body)
        first = session.get(Commit, (head.repo.id, parents[0])) if parents else None
        before = first.tree_oid if first else None
        changes = changed_files(session, head.repo.id, before, commit.tree_oid)
        shown = list(islice(changes, MOST_FILES + 1)) if head.is_open else []
    diff = patch_text(shown, small_files.text_of)
    return render(request, "commit.html", head=head, commit=commit, parents=parents, diff=diff)
