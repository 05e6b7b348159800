"""Squashed and cut off history: what is dropped, when, and what must stay, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.commits import apply_commit
from app.catalog.git_objects import GitEntry, blob_oid, object_oid, tree_oid
from app.catalog.listing import list_files
from app.catalog.operations import AddFile, DeleteFile
from app.catalog.pruning import prune_cut_histories, prune_history
from app.catalog.refs import create_branch, create_tag, delete_branch, resolve_revision
from app.catalog.squash import squash
from app.db.tables import Commit, CutHistory, Repo, Tree, TreeEntry
from app.errors import InvalidRequest, RevisionNotFound
from app.gc.collect import collect
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.inline import ingest_inline

MAIN = "refs/heads/main"


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    token = create_user(any_hub, "ada").token
    with any_hub.db.read() as session:
        return authenticate(session, token)


@pytest.fixture
def repo(any_hub: Hub, ada: Principal) -> Repo:
    return create_repo(any_hub, ada, "model", None, "m")


def commit(hub: Hub, who: Principal, repo: Repo, ref: str, *paths: str) -> Commit:
    """A commit that adds files whose content is their path; a path after - is removed."""
    operations = []
    for path in paths:
        if path.startswith("-"):
            operations.append(DeleteFile(path[1:]))
            continue
        [file] = ingest_inline(hub, [path.encode()], repo_id=repo.id)
        operations.append(AddFile(path, file.file_id, blob_oid(path.encode())))
    return apply_commit(hub, who, repo, ref, operations, title=f"add {paths}")


def oids(hub: Hub, repo: Repo) -> set[str]:
    with hub.db.read() as session:
        return set(session.scalars(select(Commit.oid).where(Commit.repo_id == repo.id)))


def files(hub: Hub, repo: Repo, revision: str) -> list[str]:
    with hub.db.read() as session:
        tree = resolve_revision(session, repo, revision).tree_oid
        return [entry.path for entry in list_files(session, repo.id, tree)]


def assert_trees_are_true(hub: Hub, repo: Repo) -> None:
    """Every directory is whole: its entries hash to its id, and all it names is there."""
    with hub.db.read() as session:
        trees = set(session.scalars(select(Tree.oid).where(Tree.repo_id == repo.id)))
        for oid in trees:
            entries = session.scalars(
                select(TreeEntry).where(TreeEntry.repo_id == repo.id, TreeEntry.tree_oid == oid)
            ).all()
            assert tree_oid(GitEntry(each.name, each.mode, each.oid) for each in entries) == oid
            assert {each.oid for each in entries if each.file_id is None} <= trees
        for each in session.scalars(select(Commit).where(Commit.repo_id == repo.id)):
            assert each.tree_oid in trees
            assert object_oid("commit", each.body) == each.oid


def test_squash_leaves_one_commit_with_the_same_files(any_hub: Hub, ada: Principal, repo: Repo):
    commit(any_hub, ada, repo, MAIN, "a", "deep/b")
    create_branch(any_hub, repo, "v1", None)
    head = commit(any_hub, ada, repo, MAIN, "c", "-a")
    squashed = squash(any_hub, ada, repo, MAIN, "all in one")
    assert (squashed.parent_oid, squashed.tree_oid) == (None, head.tree_oid)
    assert files(any_hub, repo, "main") == [".gitattributes", "c", "deep/b"]
    assert files(any_hub, repo, "v1") == [".gitattributes", "a", "deep/b"]
    assert files(any_hub, repo, head.oid) == [".gitattributes", "c", "deep/b"]  # for a while
    assert_trees_are_true(any_hub, repo)


def test_what_was_cut_off_goes_after_the_grace_period(any_hub: Hub, ada: Principal, repo: Repo):
    first = commit(any_hub, ada, repo, MAIN, "a", "deep/a")
    create_tag(any_hub, repo, "kept", None)
    second = commit(any_hub, ada, repo, MAIN, "b", "-a", "-deep/a")
    third = commit(any_hub, ada, repo, MAIN, "-b")
    squashed = squash(any_hub, ada, repo, MAIN, "one")
    now = any_hub.clock.now()
    assert prune_cut_histories(any_hub, cut_before=now - timedelta(seconds=1)) == 0
    assert {second.oid, third.oid} <= oids(any_hub, repo)
    assert prune_cut_histories(any_hub, cut_before=now) == 2
    assert oids(any_hub, repo) == {first.oid, first.parent_oid, squashed.oid}
    assert files(any_hub, repo, "kept") == [".gitattributes", "a", "deep/a"]
    assert_trees_are_true(any_hub, repo)
    with any_hub.db.read() as session:
        assert session.scalar(select(func.count()).select_from(CutHistory)) == 0
    assert prune_cut_histories(any_hub, cut_before=now) == 0


def test_bytes_that_only_cut_off_commits_held_are_collected(
    any_hub: Hub, ada: Principal, repo: Repo
):
    commit(any_hub, ada, repo, MAIN, "a")
    create_branch(any_hub, repo, "side", None)
    commit(any_hub, ada, repo, "refs/heads/side", "only here")
    delete_branch(any_hub, repo, "side")
    report = collect(any_hub, now=True)
    assert report.commits_dropped == 1
    assert report.files_deleted == 1
    assert_trees_are_true(any_hub, repo)


def test_a_later_commit_may_use_what_an_earlier_one_held(any_hub: Hub, ada: Principal, repo: Repo):
    commit(any_hub, ada, repo, MAIN, "deep/a", "deep/b")
    commit(any_hub, ada, repo, MAIN, "-deep/a")
    squash(any_hub, ada, repo, MAIN, "one")
    commit(any_hub, ada, repo, MAIN, "deep/a")  # the very directory that was cut off
    any_hub.db.run(lambda session: prune_history(session, repo.id))
    assert files(any_hub, repo, "main") == [".gitattributes", "deep/a", "deep/b"]
    assert_trees_are_true(any_hub, repo)


@pytest.mark.parametrize(
    ("ref", "title", "error"),
    [
        ("refs/heads/none", "t", RevisionNotFound),
        (MAIN, " ", InvalidRequest),
        ("refs/tags/v1", "t", InvalidRequest),
    ],
)
def test_what_is_no_branch_is_not_squashed(
    any_hub: Hub, ada: Principal, repo: Repo, ref: str, title: str, error: type[Exception]
):
    create_tag(any_hub, repo, "v1", None)
    with pytest.raises(error):
        squash(any_hub, ada, repo, ref, title)
