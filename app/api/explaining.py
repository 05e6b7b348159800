"""What a repo stores, what holds what, and what removing something would free."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.deps import Caller, HubDep, RepoNameDep, Revision
from app.catalog.listing import find_entry
from app.catalog.refs import resolve_revision
from app.catalog.repos import repo_id
from app.errors import EntryNotFound, Forbidden
from app.explain.account import Freed, Holding, Link, forecast, hold, survey
from app.explain.parts import Part, explain_parts
from app.explain.rebasing import predict_rebase
from app.explain.removals import Kind, Removal, held_files
from app.restore.homes import Home

router = APIRouter(tags=["storage"])


@router.get("/api/clade/{repo_type:repotype}/{namespace}/{name}/explain")
def explain(
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    without: Annotated[Kind, Query(description="What would be removed.")] = "repo",
    target: str = Query(
        "", max_length=1024, description="Branch or tag; path of a file on the default branch."
    ),
    rebase: Annotated[bool, Query(description="Plan better bases; administrators.")] = False,
) -> dict[str, Any]:
    """What all commits hold, the repositories on both ends of deltas, what a removal would free.

    As far as the caller may read; only administrators are told of the bucket.
    """
    if rebase and not (caller is not None and caller.is_admin):
        raise Forbidden("what a re-base would save is told to administrators of the hub only")
    with hub.db.read() as session:
        repo = name.find_open(session, caller)
        files = held_files(session, hub, repo, Removal(without, target))
        ground = survey(session, caller, repo, files)
        held = hold(session, caller, ground)
        freed = forecast(session, caller, ground)
        full_name = repo_id(session, repo)
    return {
        "id": full_name,
        "type": name.repo_type,
        **_holding(held),
        "rebase_predicted": predict_rebase(hub, repo) if rebase else None,
        "without": {"kind": without, "target": target, **_freed(freed)},
    }


@router.get(
    "/api/clade/{repo_type:repotype}/{namespace}/{name}/explain/{revision:quoted}/{path:quotedpath}"
)
def explain_file(
    hub: HubDep, caller: Caller, name: RepoNameDep, revision: Revision, path: str
) -> dict[str, Any]:
    """Tensor by tensor: what it is stored against, who holds it, whose deltas need it.

    ``without_repo`` says what becomes of it when the repository is deleted: freed, shared or
    pinned. As far as the caller may read.
    """
    with hub.db.read() as session:
        repo = name.find_open(session, caller)
        commit = resolve_revision(session, repo, revision)
        entry = find_entry(session, repo.id, commit.tree_oid, path)
        if entry is None or entry.file_id is None:
            raise EntryNotFound(f"there is no stored file {path} at {revision}", commit=commit.oid)
        parts = explain_parts(session, hub, caller, repo, entry.file_id)
        full_name = repo_id(session, repo)
    return {
        "id": full_name,
        "type": name.repo_type,
        "commit": commit.oid,
        "path": path,
        "tensors": [_part(part) for part in parts],
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "role": part.role,
        "logical_bytes": part.logical_nbytes,
        "stored_bytes": part.stored_nbytes,
        "base": _home(part.base),
        "holders": [_home(home) for home in part.holders],
        "dependents": [_home(home) for home in part.dependents],
        "without_repo": part.without_repo,
    }


def _holding(held: Holding) -> dict[str, Any]:
    return {
        "files": held.files,
        "logical_bytes": held.logical_nbytes,
        "stored_bytes": held.stored_nbytes,
        "shared_bytes": held.shared_nbytes,
        "bases": [_link(each) for each in held.bases],
        "dependents": [_link(each) for each in held.dependents],
    }


def _freed(freed: Freed) -> dict[str, Any]:
    bucket = None
    if freed.bucket is not None:
        bucket = asdict(freed.bucket) | {"handover_predicted": freed.handover_nbytes}
    return {
        "files": freed.files,
        "logical_bytes": freed.logical_nbytes,
        "freed_bytes": freed.freed_nbytes,
        "kept_bytes": freed.kept_nbytes,
        "shared_bytes": freed.shared_nbytes,
        "pinned_bytes": freed.pinned_nbytes,
        "pinned_by": [_link(each) for each in freed.pinned_by],
        "waiting_bytes": freed.waiting_nbytes,
        "bucket": bucket,
    }


def _link(link: Link) -> dict[str, Any]:
    home = _home(link.home) or {"repo": None, "type": None}
    return home | {"tensors": link.tensors, "stored_bytes": link.nbytes}


def _home(home: Home | None) -> dict[str, str] | None:
    return None if home is None else {"repo": home.repo_id, "type": home.repo_type}
