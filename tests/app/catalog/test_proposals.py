"""Pull requests: who may open and feed them, whose bytes they may name, what keeps them alive."""

import threading
from dataclasses import replace
from hashlib import sha256

import pytest
from sqlalchemy import func, select

from app.catalog.commits import apply_commit
from app.catalog.discussions import change_status
from app.catalog.git_objects import blob_oid
from app.catalog.merging import merge_pull_request
from app.catalog.operations import AddLfsFile
from app.catalog.proposals import check_push, drop_commits, open_draft, propose_commit
from app.catalog.refs import list_refs, resolve_revision
from app.catalog.repos import change_settings, delete_repo
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.catalog.threads import load_thread
from app.db.tables import Discussion, DiscussionEvent, ProposedFile, TreeEntry
from app.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    MissingUploads,
    RepoNotFound,
    RevisionNotFound,
    StaleParent,
)
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.ingest.stream import ingest_stream
from tests.fixtures.proposals import MAIN, Forum


def count(forum: Forum, table: type) -> int:
    with forum.hub.db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def send(forum: Forum, data: bytes, *, as_bob: bool = False) -> AddLfsFile:
    """A big file, its bytes sent to the repo."""
    digest = sha256(data).digest()
    ingest_stream(
        forum.hub,
        [data],
        nbytes=len(data),
        sha256=digest,
        repo_id=forum.repo.id,
        proposer=forum.bob.account_id if as_bob else None,
    )
    return AddLfsFile("big.bin", digest, len(data))


def test_a_reader_proposes_and_commits_to_his_own_only(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    ref = f"refs/pr/{number}"
    forum.commit(forum.bob, ref, {"b": b"1"})
    forum.commit(forum.ada, ref, {"c": b"1"})
    assert forum.files(ref) == {path: blob_oid(b"1") for path in "abc"}
    assert forum.files() == {}

    of_ada = forum.propose(forum.ada, {"a": b"2"})
    reader = replace(forum.bob, role="read")
    with forum.hub.db.read() as session:
        check_push(session, forum.bob, forum.repo, None)
        check_push(session, forum.bob, forum.repo, ref)
        check_push(session, forum.ada, forum.repo, ref)
        for who, wanted in ((forum.bob, f"refs/pr/{of_ada}"), (reader, ref), (reader, None)):
            with pytest.raises(Forbidden):
                check_push(session, who, forum.repo, wanted)
        for wanted in ("refs/pr/99", "refs/pr/", "refs/pr/x", "refs/pr/1/x", f"refs/pr/{9**30}"):
            with pytest.raises(RevisionNotFound):
                check_push(session, forum.ada, forum.repo, wanted)


def test_who_is_shut_out_proposes_no_more(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    change_settings(forum.hub, forum.repo, gated="manual")
    with forum.hub.db.read() as session:
        repo = session.get_one(type(forum.repo), forum.repo.id)
        for wanted in (None, f"refs/pr/{number}"):
            with pytest.raises(Forbidden):
                check_push(session, forum.bob, repo, wanted)


def test_a_draft_is_opened_before_it_is_merged(forum: Forum):
    draft = open_draft(forum.hub, forum.bob, forum.repo, " A draft ", "please look")
    assert (draft.number, draft.title, draft.status) == (1, "A draft", "draft")
    assert forum.files("refs/pr/1") == forum.files()
    forum.commit(forum.bob, "refs/pr/1", {"a": b"1"})
    with pytest.raises(Conflict, match="draft"):
        merge_pull_request(forum.hub, forum.ada, forum.repo, 1)
    change_status(forum.hub, forum.bob, forum.repo, 1, "open")
    merge_pull_request(forum.hub, forum.ada, forum.repo, 1)
    assert forum.files() == {"a": blob_oid(b"1")}


def test_a_proposer_names_only_bytes_that_he_sent(forum: Forum):
    of_ada = send(forum, b"never committed")
    for who, found in ((forum.bob, False), (forum.ada, True)):
        if found:
            propose_commit(forum.hub, who, forum.repo, MAIN, [of_ada], title="mine")
            continue
        with pytest.raises(MissingUploads):
            propose_commit(forum.hub, who, forum.repo, MAIN, [of_ada], title="not his")
    # In a tree of a public repo by now: everybody may name it.
    propose_commit(forum.hub, forum.bob, forum.repo, MAIN, [of_ada], title="copied")

    of_bob = send(forum, b"of bob", as_bob=True)
    carol = replace(forum.bob, account_id=forum.bob.account_id + 1000)
    with pytest.raises(MissingUploads):
        propose_commit(forum.hub, carol, forum.repo, MAIN, [of_bob], title="stolen")
    propose_commit(forum.hub, forum.bob, forum.repo, MAIN, [of_bob], title="his")


def test_a_request_repeated_finds_its_pull_request(forum: Forum):
    operations = forum.changes(forum.bob, {"a": b"1"})

    def propose(payload: bytes) -> int:
        return propose_commit(
            forum.hub,
            forum.bob,
            forum.repo,
            MAIN,
            operations,
            title="once",
            payload_digest=sha256(payload).digest(),
        )[1]

    assert (propose(b"x"), propose(b"x")) == (1, 1)
    change_status(forum.hub, forum.bob, forum.repo, 1, "closed")
    assert propose(b"x") == 2


def test_a_parent_must_be_of_the_branch(forum: Forum):
    first = forum.commit(forum.ada, MAIN, {"a": b"1"})
    forum.commit(forum.ada, MAIN, {"a": b"2"})
    elsewhere = forum.propose(forum.ada, {"b": b"1"})

    def propose(parent: str) -> str | None:
        operations = forum.changes(forum.bob, {"c": b"1"})
        return propose_commit(
            forum.hub, forum.bob, forum.repo, MAIN, operations, title="t", parent=parent
        )[0].parent_oid

    assert propose(first.oid[:8].upper()) == first.oid
    with forum.hub.db.read() as session:
        other = resolve_revision(session, forum.repo, f"refs/pr/{elsewhere}").oid
    for parent in (other, "0" * 40, "main-ish"):
        with pytest.raises(StaleParent):
            propose(parent)
    with pytest.raises(InvalidRequest):
        propose("abc")


def test_numbers_are_given_once(forum: Forum):
    barrier = threading.Barrier(4)

    def open_one() -> None:
        barrier.wait()
        open_draft(forum.hub, forum.bob, forum.repo, "one of many", "")

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with forum.hub.db.read() as session:
        names = {ref.name for ref in list_refs(session, forum.repo)}
        numbers = session.scalars(select(Discussion.number).order_by(Discussion.number)).all()
    assert numbers == [1, 2, 3, 4]
    assert names == {MAIN, *(f"refs/pr/{number}" for number in numbers)}


def test_its_ref_keeps_the_bytes_of_a_pull_request(forum: Forum):
    number = forum.propose(forum.bob, {"only/here": b"bytes of a proposal"})
    ref = f"refs/pr/{number}"
    with pytest.raises(Conflict, match="close pull request"):
        drop_commits(forum.hub, forum.bob, forum.repo, ref)
    change_status(forum.hub, forum.bob, forum.repo, number, "closed")
    assert collect(forum.hub, now=True).files_deleted == 0
    assert forum.files(ref) == {"only/here": blob_oid(b"bytes of a proposal")}

    carol = replace(forum.bob, account_id=forum.bob.account_id + 1000)
    with pytest.raises(Forbidden):
        drop_commits(forum.hub, carol, forum.repo, ref)
    drop_commits(forum.hub, forum.bob, forum.repo, ref)
    report = collect(forum.hub, now=True)
    assert (report.commits_dropped, report.files_deleted) == (1, 1)
    assert count(forum, ProposedFile) == 0
    with pytest.raises(RevisionNotFound):
        drop_commits(forum.hub, forum.bob, forum.repo, ref)
    with pytest.raises(Conflict, match="were deleted"):
        change_status(forum.hub, forum.bob, forum.repo, number, "open")
    assert fsck(forum.hub).clean


def test_squash_and_forget_work_on_pull_requests(forum: Forum):
    big = send(forum, b"forget me", as_bob=True)
    _, number = propose_commit(forum.hub, forum.bob, forum.repo, MAIN, [big], title="big")
    ref = f"refs/pr/{number}"
    kept = forum.commit(forum.bob, ref, {"a": b"1"})
    assert forget_files(forum.hub, forum.repo, [big.sha256]) == 1
    assert forum.files(ref) == {"a": blob_oid(b"1")}
    assert count(forum, ProposedFile) == 1  # of a
    with forum.hub.db.read() as session:
        head = resolve_revision(session, forum.repo, ref)
        events = load_thread(session, forum.repo, number).events
    assert head.oid != kept.oid
    assert events[-1].event.detail == head.oid

    merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    squash(forum.hub, forum.ada, forum.repo, ref, "one")
    assert forum.files(ref) == forum.files() == {"a": blob_oid(b"1")}


def test_merged_commits_are_renamed_with_their_history(forum: Forum):
    big = send(forum, b"forget me", as_bob=True)
    _, number = propose_commit(forum.hub, forum.bob, forum.repo, MAIN, [big], title="big")
    merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    forget_files(forum.hub, forum.repo, [big.sha256])
    with forum.hub.db.read() as session:
        head = resolve_revision(session, forum.repo, "main")
        assert load_thread(session, forum.repo, number).discussion.merge_oid == head.oid


def test_a_deleted_repo_leaves_nothing(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    operations = forum.changes(forum.bob, {"b": b"1"})
    delete_repo(forum.hub, forum.repo)
    for table in (Discussion, DiscussionEvent, ProposedFile, TreeEntry):
        assert count(forum, table) == 0
    with pytest.raises(RepoNotFound):
        apply_commit(
            forum.hub, forum.bob, forum.repo, f"refs/pr/{number}", operations, title="late"
        )
    with pytest.raises(RepoNotFound):
        propose_commit(forum.hub, forum.bob, forum.repo, MAIN, operations, title="late")
    with pytest.raises(RepoNotFound):
        send(forum, b"late", as_bob=True)


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ("x" * 300, "x" * 200),
        ("a\u202eb\x1b[31m", "ab[31m"),
        ("\u202e", "Proposal"),
    ],
)
def test_a_summary_makes_a_title(forum: Forum, summary: str, title: str):
    operations = forum.changes(forum.bob, {"a": b"1"})
    _, number = propose_commit(forum.hub, forum.bob, forum.repo, MAIN, operations, title=summary)
    with forum.hub.db.read() as session:
        assert load_thread(session, forum.repo, number).discussion.title == title
