"""Appending to history: one transaction that checks, links, moves the branch and owes the jobs."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.permissions import can_write
from app.accounts.quotas import check_room
from app.accounts.tokens import Principal
from app.catalog.claims import ClaimedFiles, claim_files, drop_upload_leases
from app.catalog.cuts import hold_history
from app.catalog.discussions import note_commit
from app.catalog.git_objects import blob_oid, commit_body, lfs_pointer, object_oid
from app.catalog.operations import AddFile, AddLfsFile, DeleteFile, DeleteFolder, Operation
from app.catalog.owing import owe_first_jobs, owe_jobs
from app.catalog.paths import check_path
from app.catalog.refs import BRANCH, PULL_REQUEST
from app.catalog.retries import is_retry, made_before, request_digest
from app.catalog.scanning import pickles_among
from app.catalog.trees import NewFile, TreeChanges
from app.db.inserting import insert_if_absent
from app.db.tables import Commit, Ref, Repo
from app.errors import (
    Conflict,
    Forbidden,
    InvalidPath,
    InvalidRequest,
    LimitExceeded,
    RepoNotFound,
    RevisionNotFound,
    StaleParent,
)
from app.hub import Hub

MIN_PARENT_LENGTH = 7


def apply_commit(
    hub: Hub,
    principal: Principal,
    repo: Repo,
    ref: str,
    operations: Sequence[Operation],
    *,
    title: str,
    message: str = "",
    parent: str | None = None,
    payload_digest: bytes | None = None,
) -> Commit:
    """Commit ``operations`` to the branch ``ref`` (full name). Write permission is checked above.

    With ``parent``, only if that is still the head (an id or its first seven or more digits). With
    ``payload_digest`` a request sent again returns the commit that it made. Order of checks and
    locks: reliability protocol, commit (ref, then files by id). Raises StaleParent,
    RevisionNotFound, MissingUploads, InvalidPath, EntryNotFound, LimitExceeded.
    """
    check_request(hub, operations, title, message, parent)
    if not ref.startswith((BRANCH, PULL_REQUEST)):
        raise Forbidden(f"{ref} is not a branch; commits go to branches")
    digest = payload_digest and request_digest(principal, ref, payload_digest)

    def work(session: Session) -> Commit:
        branch = lock_branch(session, repo, ref)
        head = session.get_one(Commit, (repo.id, branch.commit_oid))
        if is_retry(head, digest, hub.clock.now()):
            return head
        if parent is not None and not head.oid.startswith(parent.lower()):
            raise StaleParent(
                "The branch was updated since you opened this page. Please refresh and try again."
            )
        commit = append_commit(
            session, hub, principal, repo, head, operations, title, message, digest
        )
        if commit.parent_oid != head.oid:
            return commit
        move_branch(session, hub, branch, commit)
        if ref.startswith(PULL_REQUEST):
            note_commit(session, hub, principal, repo, ref, commit)
        return commit

    return hub.db.run(work)


def append_commit(
    session: Session,
    hub: Hub,
    principal: Principal,
    repo: Repo,
    head: Commit,
    operations: Sequence[Operation],
    title: str,
    message: str,
    digest: bytes | None,
) -> Commit:
    """A commit of ``operations`` on top of ``head``, with its jobs; refs are the caller's job.

    Where they change nothing and the same request was committed a while ago, that commit: it is
    below the head.
    """
    hold_history(session, repo.id)
    files = claim_files(session, principal, repo, operations)
    tree = _tree_changes(operations, files).apply(session, repo.id, head.tree_oid)
    if digest is not None and tree == head.tree_oid:
        made = made_before(session, head, digest, hub.clock.now())
        if made is not None:
            return made
    commit = record_commit(session, hub, repo, principal, tree, head, title, message, digest)
    drop_upload_leases(session, files.by_id)
    owe_jobs(session, hub, repo, files.by_id, pickles_among(_named_files(operations, files)))
    if files.by_id:  # who has too much may still remove some
        check_room(session, hub, repo, proposer=_proposer(session, principal, repo))
    note(session, hub, "repo.commit", repo.key, commit.oid)
    return commit


def _proposer(session: Session, principal: Principal, repo: Repo) -> int | None:
    return None if can_write(session, principal, repo) else principal.account_id


def move_branch(session: Session, hub: Hub, branch: Ref, commit: Commit) -> None:
    """Let a locked ref name a commit; the default branch sets the repo's time of change."""
    branch.commit_oid = commit.oid
    if branch.name == BRANCH + hub.settings.default_branch:
        changed = update(Repo).where(Repo.id == branch.repo_id)
        session.execute(changed.values(updated_at=commit.created_at))


def found_history(
    hub: Hub, principal: Principal, repo: Repo, files: Mapping[str, NewFile]
) -> Commit:
    """Give a reserved repo its initial commit, of these files. Raises Conflict if it has one."""

    def work(session: Session) -> Commit:
        changes = TreeChanges()
        for path, file in files.items():
            changes.put(path, file)
        tree = changes.apply(session, repo.id, None)
        commit = record_commit(session, hub, repo, principal, tree, None, "initial commit", "")
        branch = BRANCH + hub.settings.default_branch
        row = {"repo_id": repo.id, "name": branch, "commit_oid": commit.oid}
        if not insert_if_absent(session, Ref, row):
            raise Conflict(f"Reference {branch} already exists")
        file_ids = [file.file_id for file in files.values()]
        named = ((path, file.file_id, file.nbytes) for path, file in files.items())
        drop_upload_leases(session, file_ids)
        owe_first_jobs(session, hub, repo, file_ids, pickles_among(named))
        note(session, hub, "repo.create", repo.key, "private" if repo.private else "public")
        return commit

    return hub.db.run(work)


def record_commit(
    session: Session,
    hub: Hub,
    repo: Repo,
    principal: Principal,
    tree: str,
    parent: Commit | None,
    title: str,
    message: str,
    request_digest: bytes | None = None,
) -> Commit:
    """Write the commit object; moving a ref to it is the caller's job."""
    now = hub.clock.now()
    body = commit_body(
        tree=tree,
        parents=[parent.oid] if parent else [],
        author=principal.name,
        email=principal.email or f"{principal.name}@users.noreply",
        when=now,
        message=f"{title}\n\n{message}\n" if message else f"{title}\n",
    )
    oid = object_oid("commit", body)
    row = {
        "repo_id": repo.id,
        "oid": oid,
        "tree_oid": tree,
        "parent_oid": parent.oid if parent else None,
        "body": body,
        "title": title,
        "message": message,
        "author_id": principal.account_id,
        "author_name": principal.name,
        "request_digest": request_digest,
        "created_at": now,
        "dated_at": max(now, parent.dated_at) if parent else now,
        "generation": 1 + (parent.generation if parent else 0),
    }
    # The same change on two branches within a second is the same commit to git, and to us.
    insert_if_absent(session, Commit, row)
    return session.get_one(Commit, (repo.id, oid))


def check_message(hub: Hub, title: str, message: str) -> None:
    """Raises InvalidRequest or LimitExceeded for what cannot be a commit's message."""
    if not title.strip():
        raise InvalidRequest("the commit needs a summary")
    if "\x00" in title + message:
        raise InvalidRequest("a commit message holds no NUL")
    if len(title.encode()) + len(message.encode()) > hub.settings.limits.message_nbytes:
        raise LimitExceeded("commit message too long", setting="limits.message_nbytes")


def check_request(
    hub: Hub,
    operations: Sequence[Operation],
    title: str,
    message: str,
    parent: str | None,
) -> None:
    """Raises InvalidRequest, InvalidPath or LimitExceeded for what no commit may be."""
    limits = hub.settings.limits
    check_message(hub, title, message)
    if len(operations) > limits.commit_operations:
        raise LimitExceeded("too many operations", setting="limits.commit_operations")
    if parent is not None and len(parent) < MIN_PARENT_LENGTH:
        raise InvalidRequest("parentCommit needs at least seven digits")
    for operation in operations:
        if isinstance(operation, AddFile | AddLfsFile):
            check_path(operation.path, limits)


def lock_branch(session: Session, repo: Repo, ref: str) -> Ref:
    """The row of a ref, locked. Raises RevisionNotFound, RepoNotFound."""
    branch = session.get(Ref, (repo.id, ref), with_for_update=True)
    if branch is not None:
        return branch
    if session.scalar(select(Repo.id).where(Repo.id == repo.id)) is None:
        raise RepoNotFound("Repository not found")
    raise RevisionNotFound(f"Invalid rev id: {ref.removeprefix(BRANCH)}")


def _tree_changes(operations: Sequence[Operation], files: ClaimedFiles) -> TreeChanges:
    changes = TreeChanges()
    for operation in operations:
        match operation:
            case AddFile(path, file_id, oid):
                file = files.by_id[file_id]
                changes.put(path, NewFile(oid, file.id, file.size, is_lfs=False))
            case AddLfsFile(path, sha256):
                file = files.by_sha256[sha256]
                pointer = blob_oid(lfs_pointer(sha256, file.size))
                changes.put(path, NewFile(pointer, file.id, file.size, is_lfs=True))
            case DeleteFile(path):
                changes.remove(_existing_path(path), folder=False)
            case DeleteFolder(path):
                changes.remove(_existing_path(path.rstrip("/")), folder=True)
    return changes


def _named_files(
    operations: Sequence[Operation], files: ClaimedFiles
) -> Iterator[tuple[str, int, int]]:
    """Path, id and size of each file that is added."""
    for operation in operations:
        match operation:
            case AddFile(path, file_id, _):
                yield path, file_id, files.by_id[file_id].size
            case AddLfsFile(path, sha256, _):
                file = files.by_sha256[sha256]
                yield path, file.id, file.size
            case _:
                pass


def _existing_path(path: str) -> str:
    # Looser than check_path: what got in by older rules must be removable.
    if not path:
        raise InvalidPath("a path is empty")
    return path
