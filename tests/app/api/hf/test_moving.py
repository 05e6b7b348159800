"""Repositories renamed, handed over and duplicated with the stock client."""

import pytest
from fastapi import Request
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from app.accounts.users import create_user
from app.api.moved import moved_location
from tests.fixtures.api import REPO, LiveHub, add


@pytest.fixture
def api(live_hub: LiveHub, live_repo: str) -> HfApi:
    """Alice's client; alice/model holds a file."""
    api = live_hub.api()
    api.create_commit(live_repo, [add("a.txt", b"a")], commit_message="a")
    return api


def test_old_name_leads_to_the_new_one(live_hub: LiveHub, api: HfApi):
    api.move_repo(REPO, "alice/renamed")
    assert api.model_info(REPO).id == "alice/renamed"
    assert api.model_info("ALICE/MODEL", revision="main").id == "alice/renamed"
    assert api.list_repo_files(REPO) == [".gitattributes", "a.txt"]
    path = api.hf_hub_download(REPO, "a.txt", cache_dir=live_hub.cache)
    with open(path, "rb") as file:
        assert file.read() == b"a"
    api.create_commit(REPO, [add("b.txt", b"b")], commit_message="b")
    assert "b.txt" in api.list_repo_files("alice/renamed")


def test_redirects_are_relative_and_keep_method_path_and_query(live_hub: LiveHub, api: HfApi):
    api.move_repo(REPO, "alice/renamed")
    http = live_hub.http()
    answer = http.get("/api/models/alice/%6Dodel/tree/refs%2Fheads%2Fmain?recursive=true")
    assert answer.status_code == 307
    location = "/api/models/alice/renamed/tree/refs%2Fheads%2Fmain?recursive=true"
    assert answer.headers["Location"] == location
    head = http.head(f"/{REPO}/resolve/main/a.txt")
    assert (head.status_code, head.headers["Location"]) == (
        307,
        "/alice/renamed/resolve/main/a.txt",
    )
    batch = http.post(f"/{REPO}.git/info/lfs/objects/batch", json={"operation": "download"})
    assert batch.status_code in {307, 400}


def test_moves_chain_and_come_back(api: HfApi):
    api.move_repo(REPO, "alice/second")
    api.move_repo("alice/second", "acme/third")
    assert {api.model_info(name).id for name in (REPO, "alice/second")} == {"acme/third"}
    api.move_repo("acme/third", REPO)
    assert {api.model_info(name).id for name in ("alice/second", "acme/third")} == {REPO}


def test_a_name_that_was_left_can_be_taken(api: HfApi):
    api.move_repo(REPO, "alice/renamed")
    api.create_repo(REPO)
    assert api.model_info(REPO).id == REPO
    assert api.list_repo_files(REPO) == [".gitattributes"]
    api.delete_repo("alice/renamed")
    assert not api.repo_exists("alice/renamed")


def test_a_taken_name_is_refused(api: HfApi):
    api.create_repo("alice/other")
    with pytest.raises(HfHubHTTPError, match="A model repository called alice/OTHER already"):
        api.move_repo(REPO, "alice/OTHER")
    api.create_repo("alice/other", repo_type="dataset")
    api.move_repo(REPO, "alice/MODEL")
    assert api.model_info(REPO).id == "alice/MODEL"


def test_search_follows_a_move(api: HfApi):
    api.move_repo(REPO, "acme/zebra")
    assert [model.id for model in api.list_models(search="ZEB")] == ["acme/zebra"]
    assert list(api.list_models(search="alice/mod")) == []
    assert [model.id for model in api.list_models(author="acme")] == ["acme/zebra"]


def test_moving_needs_rights_on_both_sides(live_hub: LiveHub, api: HfApi):
    bob = live_hub.api(live_hub.bob)
    with pytest.raises(HfHubHTTPError) as refused:
        bob.move_repo(REPO, "bob/model")
    assert refused.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as refused:
        api.move_repo(REPO, "bob/model")
    assert refused.value.response.status_code == 403
    for target in ("alice/a..b", "alice/" + "x" * 97, "api/x"):
        with pytest.raises(HfHubHTTPError) as refused:
            api.move_repo(REPO, target)
        assert refused.value.response.status_code in {400, 403}
    for source in ("alice", "alice/b/c", "alice/missing", "alice/é"):
        answer = live_hub.http().post(
            "/api/repos/move", json={"fromRepo": source, "toRepo": "alice/x", "type": "model"}
        )
        assert answer.status_code in {400, 404}


def test_former_names_of_private_repos_are_not_told(live_hub: LiveHub, api: HfApi):
    api.update_repo_settings(REPO, private=True)
    api.move_repo(REPO, "alice/secret")
    for token in (live_hub.bob, None):
        http = live_hub.http(token)
        old, never = http.get(f"/api/models/{REPO}"), http.get("/api/models/alice/never")
        assert (old.status_code, old.content) == (never.status_code, never.content)
    assert api.model_info(REPO).id == "alice/secret"


def test_duplicates_have_the_history_and_nothing_of_the_other(live_hub: LiveHub, api: HfApi):
    api.create_tag(REPO, tag="v1")
    api.upload_file(path_or_fileobj=b"w" * 5_000, path_in_repo="w.bin", repo_id=REPO)
    head = api.model_info(REPO).sha
    made = api.duplicate_repo(REPO, "acme/copy", private=True)
    assert (made.repo_id, made.files_copy_pending) == ("acme/copy", False)
    info = api.model_info("acme/copy")
    assert (info.sha, info.private) == (head, True)
    assert [tag.name for tag in api.list_repo_refs("acme/copy").tags] == ["v1"]
    api.delete_repo(REPO)
    path = api.hf_hub_download("acme/copy", "w.bin", cache_dir=live_hub.cache)
    with open(path, "rb") as file:
        assert file.read() == b"w" * 5_000


def test_duplicating_onto_a_repo_is_a_conflict_with_its_url(live_hub: LiveHub, api: HfApi):
    api.create_repo("acme/copy")
    with pytest.raises(HfHubHTTPError):
        api.duplicate_repo(REPO, "acme/copy")
    assert api.duplicate_repo(REPO, "acme/copy", exist_ok=True).repo_id == "acme/copy"
    assert api.list_repo_files("acme/copy") == [".gitattributes"]
    bob = live_hub.api(live_hub.bob)
    assert bob.duplicate_repo(REPO).repo_id == "bob/model"
    api.update_repo_settings(REPO, private=True)
    with pytest.raises(RepositoryNotFoundError):
        bob.duplicate_repo(REPO, "bob/stolen")


def test_contributors_write_to_what_they_made(live_hub: LiveHub, api: HfApi):
    carol = live_hub.api(create_user(live_hub.hub, "carol").token)
    api.move_repo(REPO, "acme/model")
    body = {"user": "carol", "role": "contributor"}
    live_hub.http().post("/api/organizations/acme/members", json=body).raise_for_status()
    carol.create_repo("acme/mine", private=True)
    carol.create_commit("acme/mine", [add("c", b"c")], commit_message="c")
    with pytest.raises(HfHubHTTPError) as refused:
        carol.create_commit("acme/model", [add("c", b"c")], commit_message="c")
    assert refused.value.response.status_code == 403
    assert carol.repo_exists("acme/mine")


def test_urls_that_do_not_name_the_repo_have_nowhere_to_go():
    scope = {"type": "http", "path_params": {}, "raw_path": b"/api/repos/delete"}
    assert moved_location(Request(scope), "a/b") is None
