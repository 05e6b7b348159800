"""How a revision is stored: per file and per tensor, and what each cause saved."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoNameDep, Revision
from app.catalog.listing import Entry, list_files
from app.catalog.mirrored import find_mirrored
from app.catalog.refs import resolve_revision
from app.catalog.repos import repo_id
from app.db.tables import MirroredRepo
from app.digest import format_content_id
from app.restore.footprint import StoredFile, StoredTensor, measure_footprint
from app.restore.homes import Home

router = APIRouter(tags=["storage"])


@router.get("/api/clade/{repo_type:repotype}/{namespace}/{name}/storage/{revision:quoted}")
def storage(hub: HubDep, caller: Caller, name: RepoNameDep, revision: Revision) -> dict[str, Any]:
    """Files and tensors of a revision with their encodings and sizes."""
    with hub.db.read() as session:
        repo = name.find_open(session, caller)
        commit = resolve_revision(session, repo, revision)
        home = Home(repo.type, repo_id(session, repo))
        entries = list_files(session, repo.id, commit.tree_oid)
        footprint = measure_footprint(session, caller, home, entries)
        mirrored = find_mirrored(session, repo.id)
    return {
        "id": home.repo_id,
        "type": home.repo_type,
        "commit": commit.oid,
        "logical_bytes": footprint.logical_nbytes,
        "stored_bytes": footprint.stored_nbytes,
        "settled": footprint.is_settled,
        "saved": asdict(footprint.saved),
        "mirror": _mirror(mirrored, entries),
        "files": [_file(file) for file in footprint.files],
    }


def _mirror(mirrored: MirroredRepo | None, entries: list[Entry]) -> dict[str, Any] | None:
    """Where a mirrored repo comes from, and how much of the revision was not fetched."""
    if mirrored is None:
        return None
    awaited = {entry.oid: entry.nbytes for entry in entries if entry.is_awaited}
    return {
        "url": mirrored.url,
        "checked_at": mirrored.checked_at and wire_date(mirrored.checked_at),
        "restricted": mirrored.restricted,
        "awaited_files": len(awaited),
        "awaited_bytes": sum(awaited.values()),
    }


def _file(file: StoredFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "sha256": file.sha256.hex(),
        "format": file.format,
        "warning": file.warning,
        "logical_bytes": file.logical_nbytes,
        "stored_bytes": file.stored_nbytes,
        "tensors": [_tensor(tensor) for tensor in file.tensors],
    }


def _tensor(tensor: StoredTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "role": tensor.role,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "digest": format_content_id(tensor.digest),
        "encoding": tensor.encoding,
        "base": _base(tensor),
        "shared_with": None if tensor.shared_with is None else tensor.shared_with.repo_id,
        "logical_bytes": tensor.logical_nbytes,
        "stored_bytes": tensor.stored_nbytes,
    }


def _base(tensor: StoredTensor) -> dict[str, Any] | None:
    if tensor.base_digest is None or tensor.base_home is None:
        return None
    return {
        "digest": format_content_id(tensor.base_digest),
        "repo": tensor.base_home.repo_id,
        "type": tensor.base_home.repo_type,
    }
