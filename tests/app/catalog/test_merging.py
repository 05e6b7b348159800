"""Three-way merges by path, on both databases."""

import contextlib
import threading
from collections.abc import Callable
from functools import partial

import pytest

from app.catalog.commits import apply_commit
from app.catalog.discussions import change_status, open_discussion
from app.catalog.git_objects import blob_oid
from app.catalog.logs import Position, read_log
from app.catalog.merging import find_conflicts, merge_pull_request, proposed_changes
from app.catalog.refs import create_branch, delete_branch, resolve_revision
from app.catalog.squash import squash
from app.catalog.threads import load_thread
from app.db.tables import Commit
from app.errors import Conflict, InvalidPath, InvalidRequest, NotFound, RevisionNotFound
from tests.fixtures.proposals import MAIN, Forum

START: dict[str, bytes | None] = {"a": b"1", "deep/b": b"1", "deep/c": b"1", "x/y": b"1"}

MERGES = {
    "both sides add": ({"n": b"1"}, {"m": b"1"}),
    "one side changes each": ({"a": b"2"}, {"deep/b": b"2"}),
    "the same change": ({"a": b"2", "o": b"1"}, {"a": b"2"}),
    "removed on both sides": ({"a": None, "deep/b": b"2"}, {"a": None}),
    "removed by one": ({"deep/b": None}, {"deep/c": b"2"}),
    "a directory goes": ({"deep/b": None, "deep/c": None}, {"a": b"2"}),
    "a file becomes a directory": ({"a": None, "a/1": b"1"}, {"n": b"1"}),
    "a directory becomes a file": ({"x/y": None, "x": b"1"}, {"n": b"1"}),
    "removed there, untouched here": ({"n": b"1"}, {"deep/b": None, "deep/c": None}),
}

CONFLICTS = {
    "changed on both sides": ({"a": b"2"}, {"a": b"3"}, ["a"]),
    "added on both sides": ({"n/n": b"1"}, {"n/n": b"2"}, ["n/n"]),
    "changed here, removed there": ({"deep/b": b"2"}, {"deep/b": None, "deep/c": None}, ["deep/b"]),
    "removed here, changed there": ({"deep/b": None}, {"deep/b": b"2"}, ["deep/b"]),
    "a directory there": ({"n": b"1"}, {"n/1": b"1"}, ["n"]),
    "a file there": ({"n/1": b"1"}, {"n": b"1"}, ["n/1"]),
    "a file to replace that has more now": (
        {"x/y": None, "x": b"1"},
        {"x/z": b"1"},
        ["x"],
    ),
}


def after(*changes: dict[str, bytes | None]) -> dict[str, str]:
    """Files when all changes were made to the start."""
    files = START.copy()
    for each in changes:
        files.update(each)
    return {path: blob_oid(content) for path, content in files.items() if content is not None}


def conflicts(forum: Forum, number: int) -> list[str] | bool:
    with forum.hub.db.read() as session:
        found = load_thread(session, forum.repo, number).discussion
        return find_conflicts(session, forum.repo, found)


@pytest.mark.parametrize("case", MERGES)
def test_changes_of_other_paths_are_put_together(forum: Forum, case: str):
    theirs, ours = MERGES[case]
    forum.commit(forum.ada, MAIN, START)
    number = forum.propose(forum.bob, theirs)
    head = forum.commit(forum.ada, MAIN, ours)
    assert conflicts(forum, number) == []
    merged = merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    assert merged.parent_oid == head.oid
    assert forum.files() == after(theirs, ours)


@pytest.mark.parametrize("case", CONFLICTS)
def test_paths_changed_on_both_sides_are_named(forum: Forum, case: str):
    theirs, ours, paths = CONFLICTS[case]
    forum.commit(forum.ada, MAIN, START)
    number = forum.propose(forum.bob, theirs)
    forum.commit(forum.ada, MAIN, ours)
    assert conflicts(forum, number) == paths
    with pytest.raises(Conflict, match="changed on both sides: " + repr(paths[0])):
        merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    assert forum.files() == after(ours)


def test_a_merge_says_what_it_stands_for(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    second = forum.commit(forum.bob, f"refs/pr/{number}", {"b": b"1"})
    merged = merge_pull_request(forum.hub, forum.ada, forum.repo, number, "thank you")
    assert (merged.title, merged.author_name) == (f"propose a (#{number})", "ada")
    lines = merged.message.splitlines()
    assert [line.rpartition(" (")[0] for line in lines[:2]] == ["- propose a", "- change b"]
    assert second.oid in lines[1]
    assert lines[-1] == "Co-authored-by: bob <bob@users.noreply>"
    with forum.hub.db.read() as session:
        thread = load_thread(session, forum.repo, number)
    assert (thread.discussion.status, thread.discussion.merge_oid) == ("merged", merged.oid)
    assert [(each.event.type, each.author) for each in thread.events] == [
        ("commit", "bob"),
        ("commit", "bob"),
        ("comment", "ada"),
        ("status-change", "ada"),
    ]
    assert conflicts(forum, number) == []


def test_twins_by_case_are_refused(forum: Forum):
    number = forum.propose(forum.bob, {"Name": b"1"})
    forum.commit(forum.ada, MAIN, {"name": b"1"})
    with pytest.raises(InvalidPath, match="only in case"):
        merge_pull_request(forum.hub, forum.ada, forum.repo, number)


def test_a_pull_request_is_merged_once(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    with pytest.raises(Conflict, match="merged already"):
        merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    for status in ("open", "closed"):
        with pytest.raises(Conflict, match="merged already"):
            change_status(forum.hub, forum.ada, forum.repo, number, status)
    with pytest.raises(Conflict, match="is merged"):
        forum.commit(forum.bob, f"refs/pr/{number}", {"b": b"1"})


def test_what_cannot_be_merged_says_why(forum: Forum):
    hub, ada, repo = forum.hub, forum.ada, forum.repo
    with pytest.raises(NotFound, match="no discussion #7"):
        merge_pull_request(hub, ada, repo, 7)

    closed = forum.propose(forum.bob, {"a": b"1"})
    change_status(hub, forum.bob, repo, closed, "closed")
    with pytest.raises(Conflict, match="is closed"):
        merge_pull_request(hub, ada, repo, closed)

    done_already = forum.propose(forum.bob, {"a": b"1"})
    forum.commit(ada, MAIN, {"a": b"1"})
    with pytest.raises(Conflict, match="changes nothing"):
        merge_pull_request(hub, ada, repo, done_already)

    create_branch(hub, repo, "gone", None)
    homeless = forum.propose(forum.bob, {"b": b"1"}, "refs/heads/gone")
    delete_branch(hub, repo, "gone")
    assert conflicts(forum, homeless) is True
    with pytest.raises(RevisionNotFound, match="gone"):
        merge_pull_request(hub, ada, repo, homeless)


def test_after_a_squash_nothing_is_in_common(forum: Forum):
    number = forum.propose(forum.bob, {"a": b"1"})
    squash(forum.hub, forum.ada, forum.repo, f"refs/pr/{number}", "one")
    assert conflicts(forum, number) is True
    with pytest.raises(Conflict, match="no commit in common"):
        merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    with forum.hub.db.read() as session:
        found = load_thread(session, forum.repo, number).discussion
        changes = proposed_changes(session, forum.repo, found)
    assert [change.path for change in changes] == [".gitattributes", "a"]


def test_the_target_may_be_any_branch_but_no_pull_request(forum: Forum):
    create_branch(forum.hub, forum.repo, "dev", None)
    number = forum.propose(forum.bob, {"a": b"1"}, "refs/heads/dev")
    merge_pull_request(forum.hub, forum.ada, forum.repo, number)
    assert forum.files("dev") == {"a": blob_oid(b"1")}
    assert forum.files() == {}
    for target in (f"refs/pr/{number}", "refs/tags/v1", "refs/heads/none"):
        with pytest.raises(RevisionNotFound):
            forum.propose(forum.bob, {"b": b"1"}, target)


def test_what_was_merged_into_main_may_be_proposed_to_again(forum: Forum):
    first = forum.propose(forum.bob, {"a": b"1"})
    merge_pull_request(forum.hub, forum.ada, forum.repo, first)
    second = forum.propose(forum.bob, {"a": b"2"})
    merge_pull_request(forum.hub, forum.ada, forum.repo, second)
    assert forum.files() == {"a": blob_oid(b"2")}
    with forum.hub.db.read() as session:
        head = resolve_revision(session, forum.repo, "main")
        assert session.get_one(Commit, (forum.repo.id, head.parent_oid)).title == "propose a (#1)"


def test_a_plain_discussion_is_not_merged(forum: Forum):
    made = open_discussion(forum.hub, forum.bob, forum.repo, "talk", "")
    with pytest.raises(InvalidRequest, match="not a pull request"):
        merge_pull_request(forum.hub, forum.ada, forum.repo, made.number)
    with pytest.raises(NotFound):
        apply_commit(forum.hub, forum.ada, forum.repo, f"refs/pr/{made.number}", [], title="t")


def test_merges_and_commits_at_once_lose_nothing(forum: Forum):
    first, second = (forum.propose(forum.bob, {name: b"1"}) for name in ("one", "two"))
    push = forum.changes(forum.ada, {"three": b"1"})
    barrier = threading.Barrier(4)

    def at_once(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            barrier.wait()
            with contextlib.suppress(Conflict):  # the same one twice
                work()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    threads = [
        at_once(partial(merge_pull_request, forum.hub, forum.ada, forum.repo, first)),
        at_once(partial(merge_pull_request, forum.hub, forum.ada, forum.repo, first)),
        at_once(partial(merge_pull_request, forum.hub, forum.ada, forum.repo, second)),
        at_once(partial(apply_commit, forum.hub, forum.ada, forum.repo, MAIN, push, title="three")),
    ]
    for thread in threads:
        thread.join()
    assert forum.files() == {name: blob_oid(b"1") for name in ("one", "two", "three")}
    with forum.hub.db.read() as session:
        head = resolve_revision(session, forum.repo, "main")
        line, _ = read_log(session, forum.repo.id, Position((head.oid,)), limit=9)
        titles = [each.title for each in line]
    assert sorted(titles) == ["initial commit", "propose one (#1)", "propose two (#2)", "three"]
