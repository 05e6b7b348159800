"""Which GGUF file a quantisation tag stands for, as llama.cpp asks for ``-hf owner/name:tag``.

The question of releases of 2025 (``common_get_hf_file``) and of tools built on them; later ones
read refs and tree and choose by themselves. Of the registry manifest that this address has
elsewhere only the fields that they read are given.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.api.deps import AskerDep, Caller, HubDep, RepoName, get_repo_name
from app.api.hf.tree import lfs_facts
from app.catalog.listing import Entry, list_files
from app.catalog.refs import resolve_revision
from app.errors import EntryNotFound

router = APIRouter(tags=["files"])

LATEST = "latest"
PREFERRED = ("Q4_K_M", "Q4_")
"""What ``latest`` stands for if it is there."""

PROJECTOR = "mmproj"
_LATER_SHARD = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


async def get_model_name(request: Request, asker: AskerDep, namespace: str, name: str) -> RepoName:
    """The model of an address that does not say the type. Raises as ``get_repo_name``."""
    return await get_repo_name(request, asker, "model", namespace, name)


ModelName = Annotated[RepoName, Depends(get_model_name)]


@router.get("/v2/{namespace}/{name}/manifests/{tag}")
def gguf_manifest(hub: HubDep, caller: Caller, model: ModelName, tag: str) -> dict[str, Any]:
    """The GGUF file (of a split one, the first part) that ``tag`` stands for, and the projector."""
    with hub.db.read() as session:
        repo = model.find_open(session, caller)
        commit = resolve_revision(session, repo, hub.settings.default_branch)
        files = list_files(session, repo.id, commit.tree_oid)
    found = [entry for entry in files if entry.path.lower().endswith(".gguf")]
    found = [entry for entry in found if not _LATER_SHARD.search(entry.path)]
    projectors = [entry for entry in found if PROJECTOR in entry.name.lower()]
    chosen = choose([entry for entry in found if entry not in projectors], tag)
    if chosen is None:
        raise EntryNotFound(f"no GGUF file here is tagged {tag}", commit=commit.oid)
    answer: dict[str, Any] = {"schemaVersion": 2, "ggufFile": _facts(chosen)}
    if projectors:
        answer["mmprojFile"] = _facts(projectors[0])
    return answer


def choose(files: Sequence[Entry], tag: str) -> Entry | None:
    """The file that ``tag`` stands for: the end of its name, or a part of it; case is ignored."""
    if tag == LATEST:
        preferred = (_tagged(files, quantisation) for quantisation in PREFERRED)
        return next((entry for entry in preferred if entry), None) or next(iter(files), None)
    return _tagged(files, tag)


def _tagged(files: Sequence[Entry], tag: str) -> Entry | None:
    exact = re.compile(rf"(^|[-._/]){re.escape(tag)}(-\d{{5}}-of-\d{{5}})?\.gguf$", re.IGNORECASE)
    part = re.compile(rf"(^|[-._/]){re.escape(tag)}", re.IGNORECASE)
    for pattern in (exact, part):
        for entry in files:
            if pattern.search(entry.path):
                return entry
    return None


def _facts(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {"rfilename": entry.path, "size": entry.nbytes, "blobId": entry.oid}
    return facts | ({"lfs": lfs_facts(entry, "sha256")} if entry.is_lfs else {})
