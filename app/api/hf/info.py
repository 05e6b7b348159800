"""A repo's facts at a revision."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.api.deps import Caller, HubDep, RepoNameDep
from app.api.hf.fields import SHOWN, check_expand
from app.api.hf.repo_facts import load_facts
from app.api.hf.repo_view import RepoView
from app.api.small_files import SmallFilesDep
from app.catalog.listing import list_files
from app.catalog.refs import resolve_revision, revision_or_default
from app.catalog.repos import ListedRepo
from app.catalog.scanning import load_scans
from app.db.tables import Account, Commit, Repo
from app.formats.pickles import may_be_pickle

router = APIRouter(tags=["repositories"])

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
    security_status: Annotated[bool, Query(alias="securityStatus")] = False,
    expand: Expand = [],  # noqa: B006  FastAPI copies it
) -> dict[str, Any]:
    """Facts about a repo; ``expand`` names those wanted, default is the usual set."""
    fields = check_expand(name.repo_type, expand) or SHOWN[name.repo_type]
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision_or_default(hub, revision))
        namespace = session.get_one(Account, repo.namespace_id).name
        facts = load_facts(session, caller, ListedRepo(repo, namespace), commit, fields)
        security = _security(session, repo, commit) if security_status else {}
    answer = RepoView(facts, small_files, blobs=blobs).render(fields)
    return answer | security


def _security(session: Session, repo: Repo, commit: Commit) -> dict[str, Any]:
    """Whether all pickles have a verdict, and those whose verdict is not good."""
    pickles = [
        entry
        for entry in list_files(session, repo.id, commit.tree_oid)
        if entry.file_id is not None and may_be_pickle(entry.path)
    ]
    scans = load_scans(session, [entry.file_id or 0 for entry in pickles])
    issues = [
        {"path": entry.path, "level": scans[entry.file_id or 0].status}
        for entry in pickles
        if entry.file_id in scans and scans[entry.file_id].status != "safe"
    ]
    done = all(entry.file_id in scans for entry in pickles)
    return {"securityRepoStatus": {"scansDone": done, "filesWithIssues": issues}}
