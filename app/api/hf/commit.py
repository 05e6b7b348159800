"""The commit endpoint: reads an ndjson stream, stores its inline files, appends or proposes."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.accounts.permissions import can_write
from app.accounts.tokens import Principal
from app.api.body import with_body
from app.api.deps import HubDep, RepoName, RepoNameDep, Revision, SignedIn, commit_url, repo_url
from app.api.hf.commit_body import CommitBody
from app.api.pace import Pace
from app.api.request_bodies import takes_bytes
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.indexing import index_changed_card
from app.catalog.proposals import propose_commit
from app.catalog.refs import branch_ref, resolve_revision
from app.db.tables import Commit, Repo
from app.hub import Hub
from app.ingest.inline import ingest_inline

router = APIRouter(tags=["commits"])


@router.post("/api/{repo_type:repotype}/{namespace}/{name}/commit/{revision:quoted}")
@takes_bytes(
    "A line each: one header, then file, lfsFile, deletedFile, deletedFolder or copyFile.",
    "application/x-ndjson",
)
async def commit(
    request: Request,
    hub: HubDep,
    caller: SignedIn,
    name: RepoNameDep,
    revision: Revision,
    create_pr: bool = False,
) -> dict[str, Any]:
    """Commit to a branch or pull request, or open a pull request with the commit."""
    repo, proposes = await run_in_threadpool(_target_repo, hub, caller, name, revision, create_pr)

    def work(chunks: Iterator[bytes]) -> dict[str, Any]:
        proposer = caller.account_id if proposes else None
        body = _read(hub, repo, chunks, proposer)
        made, number = _commit(hub, caller, repo, revision, body, create_pr=create_pr)
        with hub.db.read() as session:
            url = commit_url(request, session, repo, made)
            page = repo_url(request, session, repo)
        answer = {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}
        if number is not None:
            answer |= {"pullRequestUrl": f"{page}/discussions/{number}", "pullRequestNum": number}
        return answer

    return await with_body(request, work, pace=Pace.of(hub.settings))


def _target_repo(
    hub: Hub, caller: Principal, name: RepoName, revision: str, create_pr: bool
) -> tuple[Repo, bool]:
    """The repo, and whether the caller may not write to it; refused before the body is read."""
    with hub.db.read() as session:
        repo = name.find_target(session, caller, revision, create_pr=create_pr)
        resolve_revision(session, repo, revision)
        return repo, not can_write(session, caller, repo)


def _read(hub: Hub, repo: Repo, chunks: Iterator[bytes], proposer: int | None) -> CommitBody:
    """The whole body, its inline files stored on the way."""
    body = CommitBody(hub.settings.limits)
    for chunk in chunks:
        body.feed(chunk)
        if body.batch_is_full:
            _store_inline(hub, repo, body, proposer)
    body.end()
    _store_inline(hub, repo, body, proposer)
    return body


def _store_inline(hub: Hub, repo: Repo, body: CommitBody, proposer: int | None) -> None:
    files = body.take_inline()
    data = [file.data for file in files]
    stored = ingest_inline(hub, data, repo_id=repo.id, proposer=proposer)
    for file, ingested in zip(files, stored, strict=True):
        body.stored(file, ingested.file_id, blob_oid(file.data))


def _commit(
    hub: Hub, caller: Principal, repo: Repo, revision: str, body: CommitBody, *, create_pr: bool
) -> tuple[Commit, int | None]:
    """The commit, and the number of the pull request if it opened one."""
    header, operations = body.finish()
    ref = branch_ref(revision)
    if create_pr:
        return propose_commit(
            hub,
            caller,
            repo,
            ref,
            operations,
            title=header.summary,
            message=header.description,
            parent=header.parentCommit,
            payload_digest=body.digest,
        )
    made = apply_commit(
        hub,
        caller,
        repo,
        ref,
        operations,
        title=header.summary,
        message=header.description,
        parent=header.parentCommit,
        payload_digest=body.digest,
    )
    index_changed_card(hub, repo.id, operations)
    return made, None
