"""Squash, big files listed and forgotten, copies between repos: the stock client, and strangers."""

import hashlib

import pytest
from huggingface_hub import CommitOperationCopy
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)

from tests.fixtures.api import LiveHub, add

SECRET = "bob/secret"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def repo(live_hub: LiveHub, live_repo: str) -> str:
    """With a big file on main and another on a branch."""
    api = live_hub.api()
    api.create_commit(
        live_repo, [add("a.bin", b"big a"), add("t.txt", b"small")], commit_message="on main"
    )
    api.create_branch(live_repo, branch="side")
    api.create_commit(
        live_repo, [add("deep/b.bin", b"big b")], commit_message="side", revision="side"
    )
    return live_repo


@pytest.fixture
def secret(live_hub: LiveHub) -> str:
    """A private repo of bob's with one big file."""
    bob = live_hub.api(live_hub.bob)
    bob.create_repo(SECRET, private=True)
    bob.create_commit(SECRET, [add("s.bin", b"bob's secret")], commit_message="secret")
    return SECRET


def test_super_squash(live_hub: LiveHub, repo: str):
    api = live_hub.api()
    before = api.list_repo_files(repo)
    api.super_squash_history(repo, commit_message="one")
    assert [each.title for each in api.list_repo_commits(repo)] == ["one"]
    assert api.list_repo_files(repo) == before
    assert len(api.list_repo_commits(repo, revision="side")) == 3
    api.create_tag(repo, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.super_squash_history(repo, branch="none")
    with pytest.raises(BadRequestError):
        api.super_squash_history(repo, branch="refs/tags/v1")


def test_big_files_are_listed_and_forgotten(live_hub: LiveHub, repo: str):
    api = live_hub.api()
    files = {file.filename: file for file in api.list_lfs_files(repo)}
    assert {name: (file.ref, file.size) for name, file in files.items()} == {
        "a.bin": ("refs/heads/main", 5),
        "deep/b.bin": ("refs/heads/side", 5),
    }
    assert files["a.bin"].file_oid == sha256(b"big a")
    api.permanently_delete_lfs_files(repo, [files["a.bin"]])
    assert [file.filename for file in api.list_lfs_files(repo)] == ["deep/b.bin"]
    assert api.list_repo_files(repo) == [".gitattributes", "t.txt"]
    assert "a.bin" not in api.list_repo_files(repo, revision="side")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(repo, "a.bin", cache_dir=live_hub.cache)


def test_files_stay_where_history_is_not_to_be_rewritten(live_hub: LiveHub, repo: str):
    api = live_hub.api()
    with pytest.raises(BadRequestError, match="rewriting history"):
        api.permanently_delete_lfs_files(repo, api.list_lfs_files(repo), rewrite_history=False)
    assert "a.bin" in api.list_repo_files(repo)


def test_pages_of_big_files(live_hub: LiveHub, repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "app.catalog.lfs_files.list_lfs_files.__kwdefaults__", {"after": 0, "limit": 1}
    )
    names = [file.filename for file in live_hub.api().list_lfs_files(repo)]
    assert names == ["a.bin", "deep/b.bin"]


def test_files_are_copied_between_repos_without_their_bytes(live_hub: LiveHub, repo: str):
    bob = live_hub.api(live_hub.bob)
    bob.create_repo("bob/copy", repo_type="dataset")
    bob.create_commit(
        "bob/copy",
        [
            CommitOperationCopy("a.bin", "x/a.bin", src_repo_id=repo, src_repo_type="model"),
            CommitOperationCopy("t.txt", "x/t.txt", src_repo_id=repo, src_repo_type="model"),
        ],
        commit_message="copy",
        repo_type="dataset",
    )
    path = bob.hf_hub_download("bob/copy", "x/a.bin", repo_type="dataset", cache_dir=live_hub.cache)
    with open(path, "rb") as file:
        assert file.read() == b"big a"


def test_nothing_is_copied_from_where_one_may_not_read(live_hub: LiveHub, repo: str, secret: str):
    alice = live_hub.http()
    wanted = [{"sha256": sha256(b"bob's secret"), "xetHash": "0" * 64, "filename": "s.bin"}]
    body = {"target": {"type": "model", "name": repo}, "files": wanted}
    answer = alice.post(f"/api/models/{secret}/lfs-files/duplicate", json=body)
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RepoNotFound")
    # Named through a repo of her own, it is as unknown as what nobody has.
    answer = alice.post(f"/api/models/{repo}/lfs-files/duplicate", json=body)
    assert answer.status_code == 200
    assert answer.json()["success"] == []
    assert [each["sha256"] for each in answer.json()["failed"]] == [wanted[0]["sha256"]]


def test_only_writers_change_history(live_hub: LiveHub, repo: str, secret: str):
    bob, alice, nobody = live_hub.http(live_hub.bob), live_hub.http(), live_hub.http(None)
    deletions = {"deletions": {"sha": [sha256(b"big a")], "rewriteHistory": True}}
    calls = [
        ("POST", "super-squash/main", {"message": "m"}),
        ("POST", "lfs-files/batch", deletions),
        ("GET", "lfs-files", None),
    ]
    for method, path, body in calls:
        for client, name, status in [
            (bob, repo, 403),
            (nobody, repo, 401),
            (alice, secret, 404),
            (alice, "alice/none", 404),
        ]:
            answer = client.request(method, f"/api/models/{name}/{path}", json=body)
            assert answer.status_code == status, (path, name, answer.text)
            assert answer.headers["x-error-message"]
    into_bobs = {"target": {"name": secret}, "files": [{"sha256": sha256(b"big a")}]}
    answer = alice.post(f"/api/models/{repo}/lfs-files/duplicate", json=into_bobs)
    assert answer.status_code == 404
    assert "a.bin" in live_hub.api().list_repo_files(repo)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("lfs-files/batch", {"deletions": {"sha": ["../../etc/passwd"]}}),
        ("lfs-files/batch", {"deletions": {"sha": "a"}}),
        ("lfs-files/batch", {"deletions": {"sha": ["0" * 64] * 1001}}),
        ("lfs-files/batch", []),
        ("lfs-files/duplicate", {"target": {"name": "alice/model"}, "files": [{"sha256": "0"}]}),
        ("lfs-files/duplicate", {"target": {"name": "alice/model", "type": "x"}, "files": []}),
        ("super-squash/main", {"message": 3}),
        ("super-squash/main", {"message": "a\x00b"}),
        ("super-squash/main", {"message": "m" * (1 << 20)}),
        ("super-squash/main", {}),
    ],
)
def test_malformed_bodies_are_refused(live_hub: LiveHub, repo: str, path: str, body):
    answer = live_hub.http().post(f"/api/models/{repo}/{path}", json=body)
    assert answer.status_code in {400, 413, 422}
    assert answer.headers["x-error-code"] in {"InvalidRequest", "LimitExceeded"}


@pytest.mark.parametrize("target", ["nobody", "a/b/c", "../x", "", "a b/c"])
def test_a_copy_to_what_is_no_repo_is_not_found(live_hub: LiveHub, repo: str, target: str):
    body = {"target": {"type": "model", "name": target}, "files": []}
    answer = live_hub.http().post(f"/api/models/{repo}/lfs-files/duplicate", json=body)
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RepoNotFound")


@pytest.mark.parametrize("cursor", ["x", "IngiIg==", "W10=", "bnVsbA=="])
def test_cursors_are_checked(live_hub: LiveHub, repo: str, cursor: str):
    answer = live_hub.http().get(f"/api/models/{repo}/lfs-files", params={"cursor": cursor})
    assert answer.status_code in {200, 400}
    with pytest.raises(HfHubHTTPError):
        live_hub.api(None).super_squash_history(repo)
