"""A repo's facts at a revision."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.deps import Caller, HubDep, RepoNameDep
from app.api.hf.fields import SHOWN, check_expand
from app.api.hf.repo_facts import load_facts
from app.api.hf.repo_view import RepoView
from app.api.small_files import SmallFilesDep
from app.catalog.refs import resolve_revision
from app.catalog.repos import ListedRepo
from app.db.tables import Account

router = APIRouter(tags=["repositories"])

Expand = Annotated[list[str], Query()]

NOT_SCANNED = {"scansDone": False, "filesWithIssues": []}


@router.get("/api/{repo_type:repotype}/{namespace}/{name}")
@router.get("/api/{repo_type:repotype}/{namespace}/{name}/revision/{revision:quoted}")
def repo_info(
    hub: HubDep,
    caller: Caller,
    small_files: SmallFilesDep,
    name: RepoNameDep,
    revision: str | None = None,
    blobs: bool = False,
    security_status: Annotated[bool, Query(alias="securityStatus")] = False,
    expand: Expand = [],  # noqa: B006  FastAPI copies it
) -> dict[str, Any]:
    """Facts about a repo; ``expand`` names those wanted, default is the usual set."""
    fields = check_expand(name.repo_type, expand) or SHOWN[name.repo_type]
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision or hub.settings.default_branch)
        namespace = session.get_one(Account, repo.namespace_id).name
        facts = load_facts(session, caller, ListedRepo(repo, namespace), commit, fields)
    answer = RepoView(facts, small_files, blobs=blobs).render(fields)
    return answer | ({"securityRepoStatus": NOT_SCANNED} if security_status else {})
