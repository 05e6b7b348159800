"""Ids are git's own: compared with the real git binary."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.git_objects import (
    DIRECTORY_MODE,
    FILE_MODE,
    GitEntry,
    blob_oid,
    commit_body,
    lfs_pointer,
    object_oid,
    tree_oid,
)


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", str(home)], check=True)

    def run(*arguments: str, data: bytes = b"", **env: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *arguments],
            input=data,
            capture_output=True,
            check=True,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **env},
        )
        return done.stdout.decode().strip()

    return run


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=3000))
def test_blob_ids_are_gits(git, data: bytes):
    assert blob_oid(data) == git("hash-object", "--stdin", data=data)


def test_tree_ids_are_gits_in_gits_order(git):
    blob = git("hash-object", "-w", "--stdin", data=b"x")
    inner = git("mktree", data=f"100644 blob {blob}\tf\n".encode())
    # 'a-b' < 'a/' < 'a0' to git, where 'a' is a directory
    entries = [
        GitEntry("a0", FILE_MODE, blob),
        GitEntry("a", DIRECTORY_MODE, inner),
        GitEntry("a-b", FILE_MODE, blob),
        GitEntry("é", FILE_MODE, blob),
        GitEntry("Z", "100755", blob),
    ]
    lines = "".join(
        f"{e.mode.zfill(6)} {'tree' if e.mode == DIRECTORY_MODE else 'blob'} {e.oid}\t{e.name}\0"
        for e in entries
    )
    assert tree_oid(entries) == git("mktree", "-z", data=lines.encode())
    assert tree_oid([]) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_commit_ids_are_gits(git):
    tree = git("mktree")
    when = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
    stamp = f"{int(when.timestamp())} +0000"
    env = {
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_AUTHOR_DATE": stamp,
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_COMMITTER_DATE": stamp,
    }
    first = git("commit-tree", tree, "-m", "first", **env)
    second = git("commit-tree", tree, "-p", first, data=b"title\n\nbody \xc3\xa9\n", **env)

    def ours(parents: list[str], message: str) -> str:
        body = commit_body(
            tree=tree,
            parents=parents,
            author="Ada",
            email="ada@example.org",
            when=when,
            message=message,
        )
        return object_oid("commit", body)

    assert ours([], "first\n") == first
    assert ours([first], "title\n\nbody é\n") == second


def test_identity_holds_no_markup():
    when = datetime(2026, 1, 1, tzinfo=UTC)
    body = commit_body(
        tree=tree_oid([]), parents=[], author="A<b>\nparent x", email="<>", when=when, message="m\n"
    )
    assert b"author Abparent x <unknown> " in body


def test_pointer_is_the_spec_text(tmp_path: Path):
    pointer = lfs_pointer(bytes(range(32)), 12_345)
    assert pointer.splitlines()[0] == b"version https://git-lfs.github.com/spec/v1"
    oid = f"oid sha256:{bytes(range(32)).hex()}".encode()
    assert pointer.splitlines()[1:] == [oid, b"size 12345"]
