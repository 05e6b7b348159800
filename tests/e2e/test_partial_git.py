"""Clones that leave out objects and fetch them when they are looked at, by the real git."""

import os
from pathlib import Path

import pytest

from tests.fixtures.api import ALICE_TOKEN, BOB_TOKEN, LiveHub, add
from tests.fixtures.git import Git

pytestmark = pytest.mark.long

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "config.json": b"{}",
    "deep/er/notes.txt": b"n" * 3_000,
    "deep/long.txt": b"l" * 2_000,
    "other/a.txt": b"a",
}
FILTERS = [
    "blob:none",
    "blob:limit=1k",
    "tree:0",
    "tree:1",
    "tree:2",
    "combine:tree:3+blob:limit=9",
]


@pytest.fixture(params=["0", "2"])
def git(request: pytest.FixtureRequest, live_hub: LiveHub, tmp_path: Path) -> Git:
    """Alice's git, by both protocols that it fetches with."""
    git = Git(tmp_path / "git-home", live_hub.url, ALICE_TOKEN)
    git(tmp_path, "config", "--global", "protocol.version", request.param)
    git(tmp_path, "config", "--global", "uploadpack.allowFilter", "true")
    return git


@pytest.fixture
def repo(live_hub: LiveHub, live_repo: str) -> str:
    """A repo of a few commits with directories, and a big file."""
    api = live_hub.api()
    for path, data in FILES.items():
        api.create_commit(live_repo, [add(path, data)], commit_message=f"Add {path}")
    api.create_commit(live_repo, [add("model.bin", os.urandom(20_000))], commit_message="Weights")
    return live_repo


def objects_of(git: Git, clone: Path) -> set[str]:
    """What is here, without asking for more."""
    told = git(clone, "cat-file", "--batch-check", "--batch-all-objects", GIT_NO_LAZY_FETCH="1")
    return set(told.stdout.splitlines())


def test_a_filter_leaves_out_what_gits_own_server_does(git: Git, repo: str, tmp_path: Path):
    bare = tmp_path / "bare.git"
    git.clone(repo, bare, "--bare")
    for number, spec in enumerate(FILTERS):
        ours, theirs = (tmp_path / f"{name}-{number}" for name in ("ours", "theirs"))
        options = (f"--filter={spec}", "--no-checkout", "--single-branch")
        git.clone(repo, ours, *options)
        git(tmp_path, "clone", "-q", *options, bare.as_uri(), str(theirs))
        assert objects_of(git, ours) == objects_of(git, theirs)
        git(ours, "checkout", "-q", "main")
        for path, data in FILES.items():
            assert (ours / path).read_bytes() == data
        assert (ours / "model.bin").stat().st_size == 20_000
        git(ours, "fsck", "--strict")


def test_history_is_read_and_written_without_what_was_left_out(
    live_hub: LiveHub, git: Git, repo: str, tmp_path: Path
):
    clone = git.clone(repo, tmp_path / "clone", "--filter=tree:0")
    assert "Add deep/long.txt" in git(clone, "log", "--format=%s").stdout
    assert git(clone, "show", "HEAD~2:deep/er/notes.txt").stdout == "n" * 3_000
    assert "+llll" in git(clone, "log", "-p", "--", "deep").stdout
    (clone / "other" / "b.txt").write_text("b")
    head = git.commit(clone)
    git(clone, "push", "-q")
    api = live_hub.api()
    assert api.model_info(repo).sha == head
    api.create_commit(repo, [add("later.txt", b"later")], commit_message="Later")
    git(clone, "pull", "-q")
    assert (clone / "later.txt").read_text() == "later"


def test_shallow_partial_and_sparse_together(git: Git, repo: str, tmp_path: Path):
    options = ("--depth=1", "--filter=blob:none", "--sparse")
    clone = git.clone(repo, tmp_path / "clone", *options)
    assert not (clone / "deep").exists()
    git(clone, "sparse-checkout", "set", "deep/er")
    assert (clone / "deep" / "er" / "notes.txt").read_bytes() == FILES["deep/er/notes.txt"]
    assert not (clone / "other").exists()
    missing = git(clone, "rev-list", "--objects", "--all", "--missing=print").stdout
    assert missing.count("\n?") == 1
    assert git(clone, "rev-list", "--count", "HEAD").stdout == "1\n"


def test_ids_open_only_what_refs_of_a_readable_repo_reach(
    live_hub: LiveHub, git: Git, repo: str, tmp_path: Path
):
    bob = live_hub.api(BOB_TOKEN)
    bob.create_repo("bob/secret", private=True)
    bob.create_commit("bob/secret", [add("s.txt", b"secret")], commit_message="Secret")
    (secret,) = bob.get_paths_info("bob/secret", ["s.txt"])
    clone = git.clone(repo, tmp_path / "clone", "--filter=blob:none", "--no-checkout")
    cut = git(clone, "rev-parse", "HEAD:deep/long.txt").stdout.strip()

    def is_given(oid: str) -> bool:
        return git(clone, "fetch", "-q", git.url(repo), oid, check=False).returncode == 0

    assert not is_given(secret.blob_id)
    assert not is_given("ab" * 20)
    assert is_given(cut)
    api = live_hub.api()
    api.delete_file("deep/long.txt", repo)
    api.super_squash_history(repo)
    clone = git.clone(repo, tmp_path / "after", "--filter=blob:none", "--no-checkout")
    assert not is_given(cut)
    assert is_given(git(clone, "rev-parse", "HEAD:config.json").stdout.strip())


def test_filters_that_are_not_offered_are_named(git: Git, repo: str, tmp_path: Path):
    target = str(tmp_path / "no")
    refused = git(
        tmp_path, "clone", "--filter=sparse:oid=main:x", git.url(repo), target, check=False
    )
    assert refused.returncode != 0
    assert "remote error: filter 'sparse:oid=main:x' is not offered" in refused.stderr
