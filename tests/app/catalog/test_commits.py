"""Commits on both databases: linked, refused, retried, raced, and the jobs they owe."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid, object_oid
from app.catalog.listing import list_files
from app.catalog.logs import Position, read_log
from app.catalog.operations import AddFile, AddLfsFile, DeleteFile
from app.catalog.refs import create_branch, create_tag, resolve_revision
from app.catalog.repos import delete_repo, find_readable_repo
from app.db.tables import Commit, Content, File, FileGrant, Job, Lease, Ref, Repo, Tree, TreeEntry
from app.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    MissingUploads,
    NotFound,
    RepoNotFound,
    RevisionNotFound,
    StaleParent,
)
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.inline import ingest_inline

MAIN = "refs/heads/main"


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    return principal(any_hub, "ada")


@pytest.fixture
def repo(any_hub: Hub, ada: Principal) -> Repo:
    return create_repo(any_hub, ada, "model", None, "m")


def principal(hub: Hub, name: str) -> Principal:
    token = create_user(hub, name).token
    with hub.db.read() as session:
        return authenticate(session, token)


def put(hub: Hub, repo: Repo, path: str, data: bytes) -> AddFile:
    [file] = ingest_inline(hub, [data], repo_id=repo.id)
    return AddFile(path, file.file_id, blob_oid(data))


def head(hub: Hub, repo: Repo) -> Commit:
    with hub.db.read() as session:
        return resolve_revision(session, repo, "main")


def test_commit_objects_hash_to_their_ids(any_hub: Hub, ada: Principal, repo: Repo):
    commit = apply_commit(any_hub, ada, repo, MAIN, [put(any_hub, repo, "a", b"a")], title="t")
    assert object_oid("commit", commit.body) == commit.oid
    assert head(any_hub, repo).oid == commit.oid
    with any_hub.db.read() as session:
        listed, _ = read_log(session, repo.id, Position((commit.oid,)), limit=10)
        assert [each.oid for each in listed] == [commit.oid, commit.parent_oid]


def test_commit_owes_jobs_and_drops_upload_leases(any_hub: Hub, ada: Principal, repo: Repo):
    operation = put(any_hub, repo, "a", bytes(range(256)) * 4096)

    def hold(session: Session) -> None:
        session.add(
            Lease(
                file_id=operation.file_id,
                owner="job:1",
                expires_at=any_hub.clock.now() + timedelta(days=1),
            )
        )

    any_hub.db.run(hold)
    apply_commit(any_hub, ada, repo, MAIN, [operation], title="t")
    with any_hub.db.read() as session:
        owners = session.scalars(
            select(Lease.owner).where(Lease.file_id == operation.file_id)
        ).all()
        jobs = set(session.scalars(select(Job.key)))
    assert owners == ["job:1"]
    assert f"repo:{repo.id}" in jobs


def test_small_files_of_one_commit_owe_one_encoding(any_hub: Hub, ada: Principal, repo: Repo):
    blobs = [b"file %d" % number * 20 for number in range(50)]
    files = ingest_inline(any_hub, blobs, repo_id=repo.id)
    operations = [
        AddFile(f"{file.file_id}", file.file_id, blob_oid(data))
        for file, data in zip(files, blobs, strict=True)
    ]
    with any_hub.db.read() as session:
        before = session.scalars(select(Job.id).where(Job.kind == "encode")).all()
    apply_commit(any_hub, ada, repo, MAIN, operations, title="t")
    with any_hub.db.read() as session:
        jobs = session.scalars(select(Job.id).where(Job.kind == "encode")).all()
    assert len(jobs) == len(before) + 1


def test_stale_parent_is_refused_and_prefixes_are_parents(any_hub: Hub, ada: Principal, repo: Repo):
    first = head(any_hub, repo).oid
    operation = put(any_hub, repo, "a", b"a")
    apply_commit(any_hub, ada, repo, MAIN, [operation], title="t", parent=first[:7].upper())
    with pytest.raises(StaleParent):
        apply_commit(any_hub, ada, repo, MAIN, [operation], title="t", parent=first)


def test_retry_is_recognised_for_ten_minutes(any_hub: Hub, ada: Principal, repo: Repo):
    first = head(any_hub, repo).oid
    operation = put(any_hub, repo, "a", b"a")

    def send(digest: bytes) -> Commit:
        return apply_commit(
            any_hub, ada, repo, MAIN, [operation], title="t", parent=first, payload_digest=digest
        )

    made = send(b"1")
    assert send(b"1").oid == made.oid
    with pytest.raises(StaleParent):
        send(b"2")
    any_hub.clock.sleep(601)
    with pytest.raises(StaleParent):
        send(b"1")


def test_files_must_be_here_whole_and_the_callers(any_hub: Hub, ada: Principal, repo: Repo):
    [file] = ingest_inline(any_hub, [b"secret weights"], repo_id=repo.id)
    eve = principal(any_hub, "eve")
    theirs = create_repo(any_hub, eve, "model", None, "theirs")

    def commit(size: int | None = None, who: Principal = eve, where: Repo = theirs) -> Commit:
        operation = AddLfsFile("w.bin", file.sha256, size)
        return apply_commit(any_hub, who, where, MAIN, [operation], title="t")

    with pytest.raises(MissingUploads) as refused:
        commit()  # sent by ada, in no tree yet
    assert refused.value.oids == [file.sha256.hex()]
    with pytest.raises(MissingUploads):
        commit(size=file.nbytes + 1, who=ada, where=repo)
    commit(size=file.nbytes, who=ada, where=repo)
    assert commit().oid  # public by now: a copy
    for column, value in (("health", "damaged"), ("state", "condemned")):

        def spoil(session: Session, column: str = column, value: str = value) -> None:
            row = session.get_one(File, file.file_id)
            row.health, row.state = "ok", "live"
            setattr(row, column, value)

        any_hub.db.run(spoil)
        with pytest.raises(MissingUploads):
            commit(who=ada, where=repo)


def test_bytes_known_to_be_damaged_are_asked_for_and_healed(
    any_hub: Hub, ada: Principal, repo: Repo
):
    data = b"weights"
    [file] = ingest_inline(any_hub, [data], repo_id=repo.id)
    operation = AddLfsFile("w.bin", file.sha256, len(data))
    any_hub.db.run(lambda session: session.execute(update(Content).values(health="damaged")))
    with pytest.raises(MissingUploads) as refused:
        apply_commit(any_hub, ada, repo, MAIN, [operation], title="t")
    assert refused.value.oids == [file.sha256.hex()]
    ingest_inline(any_hub, [data], repo_id=repo.id)
    assert apply_commit(any_hub, ada, repo, MAIN, [operation], title="t").oid


def test_refused_commit_leaves_nothing(any_hub: Hub, ada: Principal, repo: Repo):
    before = head(any_hub, repo).oid
    operation = put(any_hub, repo, "a", b"a")
    with pytest.raises(NotFound):
        apply_commit(any_hub, ada, repo, MAIN, [operation, DeleteFile("nope")], title="t")
    assert head(any_hub, repo).oid == before
    with any_hub.db.read() as session:
        trees = session.scalars(select(func.count()).select_from(Tree)).one()
    assert trees == 1


def test_commits_go_to_existing_branches_only(any_hub: Hub, ada: Principal, repo: Repo):
    create_tag(any_hub, repo, "v1", "main")
    operation = put(any_hub, repo, "a", b"a")
    for ref, error in (
        ("refs/heads/nope", RevisionNotFound),
        ("refs/tags/v1", Forbidden),
        (head(any_hub, repo).oid, Forbidden),
    ):
        with pytest.raises(error):
            apply_commit(any_hub, ada, repo, ref, [operation], title="t")
    delete_repo(any_hub, repo)
    with pytest.raises(RepoNotFound):
        apply_commit(any_hub, ada, repo, MAIN, [operation], title="t")


def test_the_same_change_on_two_branches_is_one_commit(any_hub: Hub, ada: Principal, repo: Repo):
    create_branch(any_hub, repo, "twin", None)
    operation = put(any_hub, repo, "a", b"a")
    oids = {
        apply_commit(any_hub, ada, repo, ref, [operation], title="t").oid
        for ref in (MAIN, "refs/heads/twin")
    }
    assert len(oids) == 1


def test_revisions_resolve_by_every_name(any_hub: Hub, ada: Principal, repo: Repo):
    first = head(any_hub, repo).oid
    create_branch(any_hub, repo, "side", first[:8])
    create_tag(any_hub, repo, "v1", "side")
    with any_hub.db.read() as session:
        for name in ("main", "side", "v1", first, first[:7], "refs/tags/v1", "refs/heads/main"):
            assert resolve_revision(session, repo, name).oid == first
        for name in ("nope", first[:6], "refs/heads/v1", "0" * 40, "", "refs/"):
            with pytest.raises(RevisionNotFound):
                resolve_revision(session, repo, name)
    with pytest.raises(Conflict):
        create_branch(any_hub, repo, "side", None)
    for name in (
        "a..b",
        "a b",
        "",
        "x.lock",
        "a~1",
        "/a",
        "a/",
        "-a",
        "a\nb",
        "a" * 300,
        first,
        "HEAD",
    ):
        with pytest.raises(InvalidRequest):
            create_branch(any_hub, repo, name, None)
    for name in ("x\u202ey", "cafe\u0301", "a\u200bb"):
        with pytest.raises(InvalidRequest):
            create_tag(any_hub, repo, name, "main")
    create_branch(any_hub, repo, "deep/er/down", None)
    create_branch(any_hub, repo, "caf\u00e9", None)
    for name in ("side/x/y", "deep", "deep/er", "main/x"):
        with pytest.raises(Conflict, match="cannot be made beside refs/heads/"):
            create_branch(any_hub, repo, name, None)
    for name in ("deep/e", "Main", "DEEP", "CAF\u00c9"):
        create_branch(any_hub, repo, name, None)
    create_tag(any_hub, repo, "side/x", "main")


def test_an_id_that_is_pinned_is_no_name(any_hub: Hub, ada: Principal, repo: Repo):
    first = head(any_hub, repo).oid
    second = apply_commit(any_hub, ada, repo, MAIN, [put(any_hub, repo, "a", b"a")], title="t").oid
    with any_hub.db.write() as session:  # as a mirror may take it over
        session.add(Ref(repo_id=repo.id, name=f"refs/heads/{first}", commit_oid=second))
    with any_hub.db.read() as session:
        assert resolve_revision(session, repo, first).oid == first
        assert resolve_revision(session, repo, f"refs/heads/{first}").oid == second


def test_deleting_a_repo_leaves_no_rows_and_frees_the_name(
    any_hub: Hub, ada: Principal, repo: Repo
):
    apply_commit(any_hub, ada, repo, MAIN, [put(any_hub, repo, "d/a", b"a")], title="t")
    delete_repo(any_hub, repo)
    with any_hub.db.read() as session:
        for table in (Repo, Ref, Commit, Tree, TreeEntry, FileGrant):
            assert session.scalars(select(func.count()).select_from(table)).one() == 0
    create_repo(any_hub, ada, "model", "ADA", "M")
    with any_hub.db.read() as session:
        assert find_readable_repo(session, None, "model", "ada", "m").name == "M"


def test_creation_cut_short_is_completed_by_the_next(any_hub: Hub, ada: Principal):
    from app.catalog.repos import reserve_repo

    reserved = reserve_repo(any_hub, ada, "model", None, "half")
    completed = create_repo(any_hub, ada, "model", None, "half")
    assert completed.id == reserved.id
    assert head(any_hub, completed).title == "initial commit"
    with pytest.raises(Conflict):
        create_repo(any_hub, ada, "model", None, "half")


def test_racing_commits_are_all_kept(any_hub: Hub, ada: Principal, repo: Repo):
    operations = [put(any_hub, repo, f"{n}/f", b"%d" % n) for n in range(8)]
    failures = []

    def work(operation: AddFile) -> None:
        try:
            apply_commit(any_hub, ada, repo, MAIN, [operation], title=operation.path)
        except Exception as error:  # noqa: BLE001  reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in operations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    commit = head(any_hub, repo)
    with any_hub.db.read() as session:
        assert len(read_log(session, repo.id, Position((commit.oid,)), limit=100)[0]) == 9
        assert len(list_files(session, repo.id, commit.tree_oid)) == 9


def test_racing_commits_and_deletion_end_cleanly(any_hub: Hub, ada: Principal, repo: Repo):
    operations = [put(any_hub, repo, f"{n}", b"%d" % n) for n in range(4)]
    failures = []

    def work(operation: AddFile) -> None:
        try:
            apply_commit(any_hub, ada, repo, MAIN, [operation], title=operation.path)
        except NotFound:
            pass
        except Exception as error:  # noqa: BLE001  reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in operations]
    threads.insert(2, threading.Thread(target=delete_repo, args=(any_hub, repo)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with any_hub.db.read() as session:
        assert session.scalars(select(func.count()).select_from(Commit)).one() == 0
