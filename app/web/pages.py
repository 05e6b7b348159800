"""Plain pages: the repositories, and the card and files of one."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller, HubDep, RepoNameDep
from app.api.small_files import SmallFilesDep
from app.catalog.listing import find_entry
from app.catalog.refs import resolve_revision, revision_or_default
from app.catalog.search import RepoQuery, list_repos
from app.catalog.tags import README
from app.web.directories import read_directory
from app.web.heads import read_head
from app.web.markdown import Renderer, card_text
from app.web.rendering import render

router = APIRouter(include_in_schema=False)

SHOWN_REPOS = 200


@router.get("/")
@router.head("/")
def index(request: Request, hub: HubDep, caller: Caller) -> HTMLResponse:
    """Models and datasets, latest first."""
    with hub.db.read() as session:
        models, _ = list_repos(session, caller, RepoQuery("model"), limit=SHOWN_REPOS)
        datasets, _ = list_repos(session, caller, RepoQuery("dataset"), limit=SHOWN_REPOS)
    return render(request, "index.html", models=models, datasets=datasets)


@router.get("/{repo_type:typeprefix}{namespace}/{name}")
@router.head("/{repo_type:typeprefix}{namespace}/{name}")
@router.get("/{repo_type:typeprefix}{namespace}/{name}/tree/{revision:quoted}")
@router.get("/{repo_type:typeprefix}{namespace}/{name}/tree/{revision:quoted}/{path:quotedpath}")
def repo_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: str | None = None,
    path: str = "",
    after: str | None = None,
) -> HTMLResponse:
    """A directory of a repo at a revision; at the root, the card as well."""
    asked, directory = revision_or_default(hub, revision), path.strip("/")
    with hub.db.read() as session:
        head = read_head(session, caller, name)
        commit = resolve_revision(session, head.repo, asked)
        listed = read_directory(session, commit, directory, after=after)
        readme = find_entry(session, head.repo.id, commit.tree_oid, README)
    card = ""
    if not directory and readme is not None and readme.file_id is not None:
        source = small_files.parse(readme.file_id, readme.nbytes, card_text)
        root = request.scope.get("root_path", "")
        card = Renderer(files=f"{root}/{head.address}/resolve/{commit.oid}/")(source)
    return render(
        request,
        "repo.html",
        head=head,
        revision=asked,
        directory=directory,
        listed=listed,
        card=card,
        commit=commit,
    )
