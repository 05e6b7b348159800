"""Repositories made, hidden and removed with the stock client."""

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_created_repo_has_an_initial_commit(live_hub: LiveHub):
    url = live_hub.api().create_repo("alice/new")
    assert url.repo_id == "alice/new"
    assert live_hub.api().list_repo_files("alice/new") == [".gitattributes"]
    [commit] = live_hub.api().list_repo_commits("alice/new")
    assert (commit.title, commit.authors) == ("initial commit", ["alice"])


def test_creating_twice_is_a_conflict_with_the_url(live_hub: LiveHub, live_repo: str):
    answer = live_hub.http().post("/api/repos/create", json={"name": "Model"})
    assert answer.status_code == 409
    assert answer.json()["url"].lower() == f"{live_hub.url}/{live_repo}"
    assert live_hub.api().create_repo(live_repo, exist_ok=True).repo_id == live_repo


def test_creating_under_a_foreign_namespace_is_forbidden(live_hub: LiveHub):
    with pytest.raises(HfHubHTTPError) as refused:
        live_hub.api().create_repo("bob/model")
    assert refused.value.response.status_code == 403


def test_organisation_members_write_to_its_repos(live_hub: LiveHub):
    live_hub.api().create_repo("acme/shared")
    live_hub.api().create_commit("acme/shared", [add("a", b"a")], commit_message="a")
    with pytest.raises(HfHubHTTPError) as refused:
        live_hub.api(live_hub.bob).create_commit(
            "acme/shared", [add("b", b"b")], commit_message="b"
        )
    assert refused.value.response.status_code == 403


def test_deleted_repo_is_gone(live_hub: LiveHub, live_repo: str):
    live_hub.api().delete_repo(live_repo)
    assert not live_hub.api().repo_exists(live_repo)
    with pytest.raises(RepositoryNotFoundError):
        live_hub.api().delete_repo(live_repo)
    live_hub.api().delete_repo(live_repo, missing_ok=True)


def test_datasets_and_models_share_names(live_hub: LiveHub, live_repo: str):
    url = live_hub.api().create_repo(live_repo, repo_type="dataset")
    assert (url.repo_type, url.repo_id) == ("dataset", live_repo)
    live_hub.api().upload_file(
        path_or_fileobj=b"1,2", path_in_repo="a.csv", repo_id=live_repo, repo_type="dataset"
    )
    assert live_hub.api().dataset_info(live_repo).siblings[-1].rfilename == "a.csv"
    assert paths(live_hub) == [".gitattributes"]


def test_private_repo_does_not_exist_for_others(live_hub: LiveHub):
    live_hub.api().create_repo("alice/secret", private=True)
    for token in (live_hub.bob, None):
        api = live_hub.api(token)
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("alice/secret")
        with pytest.raises(RepositoryNotFoundError):
            api.list_repo_files("alice/secret")
        assert [model.id for model in api.list_models()] == []
        missing = live_hub.http(token).get("/api/models/alice/never")
        hidden = live_hub.http(token).get("/api/models/alice/secret")
        assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)
    assert [model.id for model in live_hub.api().list_models()] == ["alice/secret"]


def test_visibility_can_be_changed(live_hub: LiveHub, live_repo: str):
    live_hub.api().update_repo_settings(live_repo, private=True)
    assert not live_hub.api(live_hub.bob).repo_exists(live_repo)
    live_hub.api().update_repo_settings(live_repo, private=False)
    assert live_hub.api(live_hub.bob).repo_exists(live_repo)
