"""Commits with the stock client."""

import json

import pytest
from huggingface_hub import CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_commit_adds_and_deletes(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    first = api.create_commit(
        live_repo,
        [add("a.txt", b"a"), add("dir/b.txt", b"bb"), add("dir/deep/c.txt", b""), add("x", b"x")],
        commit_message="files",
        commit_description="with a body",
    )
    assert first.commit_url == f"{live_hub.url}/{live_repo}/commit/{first.oid}"
    api.create_commit(
        live_repo,
        [
            CommitOperationDelete("a.txt"),
            CommitOperationDelete("dir/deep/", is_folder=True),
            add("x", b"y"),
        ],
        commit_message="fewer",
    )
    assert paths(live_hub) == [".gitattributes", "dir/b.txt", "x"]
    assert paths(live_hub, first.oid[:10]) == [
        ".gitattributes", "a.txt", "dir/b.txt", "dir/deep/c.txt", "x"
    ]  # fmt: skip
    assert [commit.title for commit in api.list_repo_commits(live_repo)] == [
        "fewer", "files", "initial commit"
    ]  # fmt: skip
    assert api.list_repo_commits(live_repo)[1].message == "with a body"


def test_deleting_what_is_not_there_is_entry_not_found(live_hub: LiveHub, live_repo: str):
    with pytest.raises(EntryNotFoundError):
        live_hub.api().delete_file("nope", live_repo)
    with pytest.raises(EntryNotFoundError):
        live_hub.api().delete_folder("nope", live_repo)


def test_stale_parent_is_refused(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    head = api.model_info(live_repo).sha
    api.create_commit(live_repo, [add("a", b"a")], commit_message="a", parent_commit=head)
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit(live_repo, [add("b", b"b")], commit_message="b", parent_commit=head)
    assert refused.value.response.status_code == 412
    assert refused.value.response.json()["error"] == (
        "The branch was updated since you opened this page. Please refresh and try again."
    )


def test_lfs_file_is_copied_by_its_digest_and_only_if_possessed(live_hub: LiveHub, live_repo: str):
    api, bob = live_hub.api(), live_hub.api(live_hub.bob)
    api.create_repo("alice/secret", private=True)
    api.upload_file(path_or_fileobj=b"weights" * 100, path_in_repo="w.bin", repo_id="alice/secret")
    oid = api.get_paths_info("alice/secret", "w.bin")[0].lfs.sha256
    api.create_commit(
        "alice/secret", [CommitOperationCopy("w.bin", "copy.bin")], commit_message="copy"
    )
    bob.create_repo("bob/thief")
    answers = [
        commit_lines(live_hub, "bob/thief", {"path": "w.bin", "algo": "sha256", "oid": each})
        for each in (oid, "0" * 64)
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text.replace(oid, "?") == answers[1].text.replace("0" * 64, "?")
    assert answers[0].json()["oids"] == [oid]


def commit_lines(live_hub: LiveHub, live_repo: str, lfs_file: dict):
    lines = [
        {"key": "header", "value": {"summary": "s"}},
        {"key": "lfsFile", "value": lfs_file},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    return live_hub.http(live_hub.bob).post(
        f"/api/models/{live_repo}/commit/main",
        content=body,
        headers={"Content-Type": "application/x-ndjson"},
    )
