"""Plain pages: the repositories, and the files of one."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup
from starlette.responses import HTMLResponse

from app.accounts.names import RESERVED
from app.api.deps import Caller, HubDep, RepoNameDep, base_url
from app.api.routing import repo_path_prefix
from app.api.small_files import SmallFilesDep
from app.catalog.listing import list_files
from app.catalog.refs import resolve_revision
from app.catalog.repos import repo_id
from app.catalog.scanning import load_scans
from app.catalog.search import RepoQuery, list_repos
from app.catalog.tags import README
from app.web.cards import card_text, render_card

router = APIRouter(include_in_schema=False)

SHOWN_REPOS = 200
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    trim_blocks=True,
    lstrip_blocks=True,
)


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
@router.get("/{repo_type:typeprefix}{namespace}/{name}/commit/{revision:quoted}")
def repo_page(
    request: Request,
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: str | None = None,
) -> HTMLResponse:
    """Card and files of a repo at a revision."""
    if name.namespace.lower() in RESERVED:  # an address of the hub itself that does not exist
        raise HTTPException(404)
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision or hub.settings.default_branch)
        files = list_files(session, repo.id, commit.tree_oid)
        full_name = repo_id(session, repo)
        scans = load_scans(session, [file.file_id for file in files if file.file_id is not None])
    readme = next((file for file in files if file.path == README and file.file_id), None)
    address = f"{repo_path_prefix(name.repo_type)}{full_name}"
    card = ""
    if readme is not None and readme.file_id is not None:
        source = small_files.parse(readme.file_id, readme.nbytes, card_text)
        root = request.scope.get("root_path", "")
        card = render_card(source, files=f"{root}/{address}/resolve/{commit.oid}/")
    return render(
        request,
        "repo.html",
        full_name=full_name,
        repo_type=name.repo_type,
        address=address,
        card=Markup(card),  # noqa: S704  cleaned by app.web.cards
        marks={file.path: scans[file.file_id].status for file in files if file.file_id in scans},
        private=repo.private,
        commit=commit,
        files=files,
    )


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page of this hub from a template."""
    places = {"endpoint": base_url(request), "root": request.scope.get("root_path", "")}
    return HTMLResponse(_templates.get_template(template).render(places | values), headers=HEADERS)
