"""The commit endpoint: reads an ndjson stream, stores its inline files, appends to a branch."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.accounts.tokens import Principal
from app.api.body import with_body
from app.api.deps import HubDep, RepoName, RepoNameDep, SignedIn, commit_url
from app.api.hf.commit_body import CommitBody
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.indexing import index_changed_card
from app.catalog.refs import branch_ref, resolve_revision
from app.db.tables import Commit, Repo
from app.errors import InvalidRequest
from app.hub import Hub
from app.ingest.inline import ingest_inline

router = APIRouter()


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/commit/{revision:quoted}")
async def commit(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    name: RepoNameDep,
    revision: str,
    create_pr: bool = False,
) -> dict[str, Any]:
    """Commit to a branch."""
    if create_pr:
        raise InvalidRequest("pull requests are not available on this hub; commit to a branch")
    repo = await run_in_threadpool(_writable_repo, hub, caller, name, revision)

    def work(chunks: Iterator[bytes]) -> dict[str, Any]:
        made = _commit(hub, caller, repo, revision, _read(hub, repo, chunks))
        with hub.db.read() as session:
            url = commit_url(request, session, repo, made)
        return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}

    return await with_body(request, work, idle_s=hub.settings.timers.upload_idle_s)


def _writable_repo(hub: Hub, caller: Principal, name: RepoName, revision: str) -> Repo:
    with hub.db.read() as session:
        repo = name.find_writable(session, caller)
        resolve_revision(session, repo, revision)  # refused before the body is read
    return repo


def _read(hub: Hub, repo: Repo, chunks: Iterator[bytes]) -> CommitBody:
    """The whole body, its inline files stored on the way."""
    body = CommitBody(hub.settings.limits)
    for chunk in chunks:
        body.feed(chunk)
        if body.batch_is_full:
            _store_inline(hub, repo, body)
    body.end()
    _store_inline(hub, repo, body)
    return body


def _store_inline(hub: Hub, repo: Repo, body: CommitBody) -> None:
    files = body.take_inline()
    stored = ingest_inline(hub, [file.data for file in files], repo_id=repo.id)
    for file, ingested in zip(files, stored, strict=True):
        body.stored(file, ingested.file_id, blob_oid(file.data))


def _commit(hub: Hub, caller: Principal, repo: Repo, revision: str, body: CommitBody) -> Commit:
    header, operations = body.finish()
    made = apply_commit(
        hub,
        caller,
        repo,
        branch_ref(revision),
        operations,
        title=header.summary,
        message=header.description,
        parent=header.parentCommit,
        payload_digest=body.digest,
    )
    index_changed_card(hub, repo.id, operations)
    return made
