"""Directory listings and look-ups of single paths at a revision."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoName, RepoNameDep, Revision
from app.api.json_body import read_form_or_json
from app.api.pages import place_in_text, set_next_page
from app.api.request_bodies import FORM, JSON, takes
from app.catalog.git_objects import lfs_pointer
from app.catalog.last_changes import last_changes
from app.catalog.listing import Entry, find_entries, find_entry, list_tree
from app.catalog.refs import resolve_revision
from app.catalog.scanning import load_scans
from app.db.tables import Commit
from app.errors import EntryNotFound, LimitExceeded
from app.formats.pickles import Scan, may_be_pickle
from app.hub import Hub

router = APIRouter(tags=["files"])

ENTRIES_PER_PAGE = 1_000
EXPANDED_ENTRIES_PER_PAGE = 50


class WantedPaths(BaseModel):
    """Body of paths-info, a form or JSON."""

    paths: list[str]
    expand: bool = False


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/tree/{revision:quoted}")
@router.get("/api/{repo_type:repotype}/{namespace}/{name}/tree/{revision:quoted}/{path:quotedpath}")
def tree(
    request: Request,
    response: Response,
    hub: HubDep,
    caller: Caller,
    name: RepoNameDep,
    revision: Revision,
    path: str = "",
    recursive: bool = False,
    expand: bool = False,
    limit: int = ENTRIES_PER_PAGE,
    cursor: str | None = None,
) -> list[dict[str, Any]]:
    """Entries of a directory."""
    most = EXPANDED_ENTRIES_PER_PAGE if expand else ENTRIES_PER_PAGE
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision)
        directory = path.strip("/")
        page = list_tree(
            session,
            repo.id,
            directory_oid(session, commit, directory),
            prefix=directory,
            recursive=recursive,
            after=place_in_text(cursor),
            limit=max(1, min(limit, most)),
        )
        answer = describe_entries(session, commit, page.entries, expand=expand)
    if page.cursor is not None:
        set_next_page(request, response, page.cursor)
    return answer


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/paths-info/{revision:quoted}")
@takes(WantedPaths, JSON, FORM)
async def paths_info(
    request: Request, hub: HubDep, caller: Caller, name: RepoNameDep, revision: Revision
) -> list[dict[str, Any]]:
    """Entries at the given paths; what does not exist is left out."""
    limits = hub.settings.limits
    wanted = await read_form_or_json(request, limits, WantedPaths, lists=frozenset({"paths"}))
    if len(wanted.paths) > limits.paths_info:
        raise LimitExceeded("too many paths", setting="limits.paths_info")
    return await run_in_threadpool(_look_up, hub, caller, name, revision, wanted)


def directory_oid(session: Session, commit: Commit, path: str) -> str:
    """Id of the tree at a path. Raises EntryNotFound."""
    if not path:
        return commit.tree_oid
    entry = find_entry(session, commit.repo_id, commit.tree_oid, path)
    if entry is None or not entry.is_directory:
        raise EntryNotFound(f"{path} does not exist on this revision", commit=commit.oid)
    return entry.oid


def describe_entries(
    session: Session, commit: Commit, entries: Sequence[Entry], *, expand: bool
) -> list[dict[str, Any]]:
    """Entries as the clients read them; ``expand`` adds the last commit of each."""
    answers = [_entry(entry) for entry in entries]
    if expand:
        changes = last_changes(session, commit, entries)
        scans = load_scans(session, [e.file_id for e in entries if e.file_id is not None])
        for entry, answer in zip(entries, answers, strict=True):
            last = changes[entry.path]
            answer["lastCommit"] = {
                "id": last.oid,
                "title": last.title,
                "date": wire_date(last.created_at),
            }
            if not entry.is_directory:
                answer["securityFileStatus"] = security_status(entry, scans)
    return answers


def security_status(entry: Entry, scans: Mapping[int, Scan]) -> dict[str, Any]:
    """What was found in a file, in the words of the Hugging Face Hub.

    Formats that hold no code are safe, and so is what is a pickle by its name alone; no antivirus
    runs here.
    """
    if not may_be_pickle(entry.path):
        return {"status": "safe", "avScan": None, "pickleImportScan": None}
    scan = scans.get(entry.file_id or 0)
    if scan is None or scan.imports is None:
        status = "queued" if scan is None else scan.status
        return {"status": status, "avScan": None, "pickleImportScan": None}
    imports = [
        {"module": each.module, "name": each.name, "safety": each.safety} for each in scan.imports
    ]
    found = {"status": scan.status, "pickleImports": imports}
    return {"status": scan.status, "avScan": None, "pickleImportScan": found}


def lfs_facts(entry: Entry, digest_name: str) -> dict[str, Any]:
    """The ``lfs`` object of an entry; the digest is called oid in trees and sha256 in siblings."""
    assert entry.sha256 is not None
    return {
        digest_name: entry.sha256.hex(),
        "size": entry.nbytes,
        "pointerSize": len(lfs_pointer(entry.sha256, entry.nbytes)),
    }


def _look_up(
    hub: Hub, caller: Principal | None, name: RepoName, revision: str, wanted: WantedPaths
) -> list[dict[str, Any]]:
    with hub.db.read() as session:
        repo = name.find(session, caller)
        commit = resolve_revision(session, repo, revision)
        paths = list(dict.fromkeys(path.strip("/") for path in wanted.paths))
        found = find_entries(session, repo.id, commit.tree_oid, [path for path in paths if path])
        entries = [found[path] for path in paths if path in found]
        return describe_entries(session, commit, entries, expand=wanted.expand)


def _entry(entry: Entry) -> dict[str, Any]:
    if entry.is_directory:
        return {"type": "directory", "path": entry.path, "oid": entry.oid, "size": 0}
    answer = {"type": "file", "path": entry.path, "oid": entry.oid, "size": entry.nbytes}
    if entry.is_lfs:
        answer["lfs"] = lfs_facts(entry, "oid")
        if not entry.is_awaited:  # by Xet only what is here is served; the rest streams through
            answer["xetHash"] = answer["lfs"]["oid"]
    return answer
