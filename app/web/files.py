"""The page of one file: its facts, what a pickle would import, and the text if it is one."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller, HubDep, RepoNameDep, Revision
from app.api.hf.resolve import find_file
from app.api.small_files import SmallFilesDep
from app.catalog.scanning import load_scans
from app.web.heads import read_head
from app.web.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/{repo_type:typeprefix}{namespace}/{name}/blob/{revision:quoted}/{path:quotedpath}")
def file_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: Revision,
    path: str,
) -> HTMLResponse:
    """A file at a revision."""
    with hub.db.read() as session:
        head = read_head(session, caller, name)
        found = find_file(session, caller, name, revision, path)
        file_id = found.entry.file_id
        scans = load_scans(session, [] if file_id is None else [file_id])
    return render(
        request,
        "file.html",
        head=head,
        revision=revision,
        commit_oid=found.commit,
        entry=found.entry,
        sha256=found.sha256,
        scan=next(iter(scans.values()), None),
        text=small_files.text_of(found.entry),
    )
