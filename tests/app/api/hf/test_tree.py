"""Listings and look-ups with the stock client."""

import pytest

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_tree_follows_pages(live_hub: LiveHub, live_repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.api.hf.tree.ENTRIES_PER_PAGE", 50)
    files = [f"{part}/{number:03d}.txt" for part in "abc" for number in range(60)]
    live_hub.api().create_commit(
        live_repo, [add(path, path.encode()) for path in files], commit_message="many"
    )
    listed = list(live_hub.api().list_repo_tree(live_repo, recursive=True))
    assert [entry.path for entry in listed if hasattr(entry, "size")] == [".gitattributes", *files]
    assert [entry.path for entry in listed if hasattr(entry, "tree_id")] == ["a", "b", "c"]
    inside = live_hub.api().list_repo_tree(live_repo, "b")
    assert [entry.path for entry in inside] == files[60:120]


def test_tree_expands_to_the_last_commit_of_each_path(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    one = api.create_commit(
        live_repo, [add("d/one", b"1"), add("d/two", b"2")], commit_message="both"
    )
    two = api.create_commit(live_repo, [add("d/two", b"two")], commit_message="second")
    api.create_commit(live_repo, [add("other", b"3")], commit_message="elsewhere")
    found = {
        entry.path: entry.last_commit.oid
        for entry in api.list_repo_tree(live_repo, recursive=True, expand=True)
    }
    assert (found["d"], found["d/one"], found["d/two"]) == (two.oid, one.oid, two.oid)
    [info] = api.get_paths_info(live_repo, "d/one", expand=True)
    assert info.last_commit.title == "both"
    assert info.security.status in {"unscanned", "safe"}  # the job that looks may have been there


def test_tree_of_a_missing_directory_is_entry_not_found(live_hub: LiveHub, live_repo: str):
    answer = live_hub.http().get(
        f"/api/models/{live_repo}/tree/main/additional_chat_templates%2Fx?recursive=false"
    )
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert answer.headers["X-Repo-Commit"] == live_hub.api().model_info(live_repo).sha


def test_paths_info_takes_forms_and_json_and_omits_unknown_paths(live_hub: LiveHub, live_repo: str):
    live_hub.api().create_commit(live_repo, [add("d/a", b"abc")], commit_message="a")
    asked = ["d/a", "nope", "d", "d/nope/x"]
    assert [info.path for info in live_hub.api().get_paths_info(live_repo, asked)] == ["d/a", "d"]
    answer = live_hub.http().post(f"/api/models/{live_repo}/paths-info/main", json={"paths": asked})
    assert [entry["path"] for entry in answer.json()] == ["d/a", "d"]
