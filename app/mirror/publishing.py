"""The transaction that makes a repo what the upstream's is: refs, commits, trees, awaited files."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.accounts.domains import owe_sharing
from app.catalog.ancestry import Ancestry
from app.catalog.claims import ClaimedFiles, claim_shown
from app.catalog.cuts import hold_history, owe_pruning
from app.catalog.listing import list_files
from app.catalog.naming import repo_key
from app.catalog.owing import owe_jobs
from app.catalog.refs import BRANCH
from app.catalog.repos import delete_repo, reserve_name
from app.catalog.tag_lists import show_tags
from app.db.inserting import batches, upsert
from app.db.tables import AwaitedFile, Commit, MirroredRepo, Ref, Repo
from app.errors import Conflict, Unavailable
from app.git.checking import Pushed
from app.git.names import oid_of
from app.git.publishing import with_pushed
from app.git.storing import Storing
from app.hub import Hub
from app.ingest.files import IngestedFile
from app.mirror.demand import AT_LEISURE, Wanted, owe_fetch
from app.mirror.policy import find_or_add_owner, is_private
from app.mirror.remote_git import RemoteRef
from app.mirror.upstream import RemoteRepo


def reserve_mirror(hub: Hub, remote: RemoteRepo, page: str) -> Repo:
    """The repo that is to mirror ``remote``, whose page is at the URL ``page``.

    It is empty until it is published. Raises Conflict if it is one of this hub's own.
    """
    address = remote.address

    def work(session: Session) -> Repo:
        key = repo_key(address.repo_type, address.namespace, address.name)
        repo = session.scalar(select(Repo).where(Repo.key == key))
        if repo is None:
            owner = find_or_add_owner(session, hub, address.namespace)
            repo = reserve_name(
                session,
                hub,
                owner,
                address.repo_type,
                address.name,
                creator_id=None,
                private=is_private(hub.settings, remote),
                gated=None,
            )
            row = {"repo_id": repo.id, "url": page, "restricted": True}
            session.execute(upsert(session, MirroredRepo).values(row).on_conflict_do_nothing())
        if session.get(MirroredRepo, repo.id) is None:
            raise Conflict(f"{address.full_name} is a repository of this hub's own")
        return repo

    return hub.db.run(work)


def drop_if_empty(hub: Hub, repo: Repo) -> None:
    """Take back a reserved repo that nothing came of."""
    with hub.db.read() as session:
        refs = session.scalar(select(Ref.name).where(Ref.repo_id == repo.id).limit(1))
    if refs is None:
        delete_repo(hub, repo)


def publish_mirror(
    hub: Hub,
    repo: Repo,
    remote: RemoteRepo,
    refs: Sequence[RemoteRef],
    pushed: Pushed,
    plain: Mapping[str, IngestedFile],
) -> None:
    """Give a repo the refs of the upstream, with all that is new below them.

    ``pushed`` and ``plain`` are what was fetched, checked, and its plain files by blob. Raises
    InvalidRequest for a history that lacks something.
    """

    def work(session: Session) -> None:
        present = _lock_refs(session, repo)
        hold_history(session, repo.id)
        files = _claim(session, repo, pushed, plain)
        ancestry = with_pushed(Ancestry(session, repo.id), pushed)
        storing = Storing(session, repo, pushed, plain, files, ancestry)
        storing.store(hub.settings.limits)
        _await_files(session, hub, repo, pushed, files)
        changed = _set_refs(session, hub, repo, refs, pushed, present)
        _set_private(session, hub, repo.id, private=is_private(hub.settings, remote))
        _note_state(session, hub, repo, remote)
        session.flush()
        if changed or pushed.commits:
            owe_pruning(session, hub, repo.id)
            owe_jobs(session, hub, repo, files.by_id, storing.pickles)
            if hub.settings.mirror.ahead == "head":
                owe_head(session, hub, repo)

    hub.db.run(work)


def note_unchanged(hub: Hub, repo: Repo, remote: RemoteRepo | None) -> None:
    """The upstream was asked, and the repo is as it was; ``remote``: what it said, if anything."""

    def work(session: Session) -> None:
        row = session.get(MirroredRepo, repo.id, with_for_update=True)
        if row is None:
            return
        row.checked_at = hub.clock.now()
        if remote is not None:
            row.etag, row.restricted = remote.etag, remote.restricted
            _set_private(session, hub, repo.id, private=is_private(hub.settings, remote))

    hub.db.run(work)


def note_refused(hub: Hub, repo: Repo) -> None:
    """The upstream shows us a repo no more: what is here is for some only, unless all is open."""

    def work(session: Session) -> None:
        row = session.get(MirroredRepo, repo.id, with_for_update=True)
        if row is not None:
            row.checked_at = hub.clock.now()
            row.restricted = True
            if hub.settings.mirror.restricted != "open":
                _set_private(session, hub, repo.id, private=True)

    hub.db.run(work)


def owe_head(session: Session, hub: Hub, repo: Repo, revision: str | None = None) -> int:
    """Queue a fetch of every awaited file of a commit; returns how many are awaited.

    ``revision``: a commit id; the head of the default branch, if None.
    """
    if revision is None:
        name = BRANCH + hub.settings.default_branch
        revision = session.scalar(
            select(Ref.commit_oid).where(Ref.repo_id == repo.id, Ref.name == name)
        )
    commit = None if revision is None else session.get(Commit, (repo.id, revision))
    if commit is None:
        return 0
    awaited = {
        entry.oid: entry
        for entry in list_files(session, repo.id, commit.tree_oid)
        if entry.is_awaited
    }
    for entry in awaited.values():
        wanted = Wanted(repo.id, entry.oid, entry.nbytes)
        owe_fetch(session, hub, wanted, priority=AT_LEISURE)
    return len(awaited)


def _set_private(session: Session, hub: Hub, repo_id: int, *, private: bool) -> None:
    row = session.get_one(Repo, repo_id)
    if row.private and not private:
        owe_sharing(session, hub, repo_id)
    if row.private != private:
        row.private = private
        show_tags(session, row)


def _lock_refs(session: Session, repo: Repo) -> dict[str, Ref]:
    rows = select(Ref).where(Ref.repo_id == repo.id).order_by(Ref.name).with_for_update()
    return {ref.name: ref for ref in session.scalars(rows)}


def _claim(
    session: Session, repo: Repo, pushed: Pushed, plain: Mapping[str, IngestedFile]
) -> ClaimedFiles:
    sizes = {pointer.sha256: pointer.nbytes for pointer in pushed.pointers.values()}
    plain_ids = {file.file_id for file in plain.values()}
    files = claim_shown(session, repo, sizes, plain_ids)
    if not plain_ids <= files.by_id.keys():
        raise Unavailable("files that were just stored are gone; try again")
    return files


def _await_files(
    session: Session, hub: Hub, repo: Repo, pushed: Pushed, files: ClaimedFiles
) -> None:
    rows = [
        {
            "repo_id": repo.id,
            "oid": oid,
            "sha256": pointer.sha256,
            "nbytes": pointer.nbytes,
            "verified": False,
            "touched_at": hub.clock.now(),
        }
        for oid, pointer in pushed.pointers.items()
        if pointer.sha256 not in files.by_sha256
    ]
    for some in batches(rows):
        session.execute(upsert(session, AwaitedFile).values(some).on_conflict_do_nothing())


def _set_refs(
    session: Session,
    hub: Hub,
    repo: Repo,
    refs: Iterable[RemoteRef],
    pushed: Pushed,
    present: Mapping[str, Ref],
) -> bool:
    """Move, make and remove refs; whether any was."""
    known_tags = {
        oid_of(ref): (ref.commit_oid, ref.tag_body)
        for ref in present.values()
        if ref.tag_body is not None
    }
    changed = False
    wanted = {ref.name: ref.oid for ref in refs}
    for name, oid in wanted.items():
        ref = present.get(name)
        if ref is not None and oid_of(ref) == oid:
            continue
        changed = True
        commit_oid, tag_body = pushed.tags.get(oid) or known_tags.get(oid) or (oid, None)
        if ref is None:
            row = Ref(repo_id=repo.id, name=name, commit_oid=commit_oid, tag_body=tag_body)
            session.add(row)
        else:
            ref.commit_oid, ref.tag_body = commit_oid, tag_body
        if name == BRANCH + hub.settings.default_branch:
            moved = update(Repo).where(Repo.id == repo.id)
            session.execute(moved.values(updated_at=hub.clock.now()))
    gone = sorted(present.keys() - wanted.keys())
    session.flush()
    for some in batches(gone):
        session.execute(delete(Ref).where(Ref.repo_id == repo.id, Ref.name.in_(some)))
    return changed or bool(gone)


def _note_state(session: Session, hub: Hub, repo: Repo, remote: RemoteRepo) -> None:
    row = session.get_one(MirroredRepo, repo.id)
    row.etag, row.restricted = remote.etag, remote.restricted
    row.checked_at = hub.clock.now()
