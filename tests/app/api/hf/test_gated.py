"""Gated repositories: seen by all, read by those let in."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from app.accounts.users import create_user
from tests.fixtures.api import REPO, LiveHub, add


@pytest.fixture
def api(live_hub: LiveHub, live_repo: str) -> HfApi:
    """Alice's client; alice/model is gated by hand and holds a small and a big file."""
    api = live_hub.api()
    api.upload_file(path_or_fileobj=b"w" * 5_000, path_in_repo="w.bin", repo_id=live_repo)
    api.update_repo_settings(live_repo, gated="manual")
    return api


def refused(answer, status: int) -> None:
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (status, "GatedRepo")


FILES = [
    f"/{REPO}/resolve/main/w.bin",
    f"/{REPO}/resolve/main/.gitattributes",
    f"/{REPO}/raw/main/.gitattributes",
    f"/api/models/{REPO}/auth-check",
    f"/api/models/{REPO}/safetensors-metadata/model.safetensors.index.json",
    f"/api/clade/models/{REPO}/plan/main/w.bin",
]


def test_strangers_see_the_repo_and_not_its_files(live_hub: LiveHub, api: HfApi):
    for token, status in ((live_hub.bob, 403), (None, 401)):
        visitor, http = live_hub.api(token), live_hub.http(token)
        info = visitor.model_info(REPO)
        assert info.gated == "manual"
        assert visitor.list_repo_files(REPO) == [".gitattributes", "w.bin"]
        for url in FILES:
            refused(http.get(url), status)
        with pytest.raises(GatedRepoError, match="you are not in the authorized list"):
            visitor.hf_hub_download(REPO, "w.bin", cache_dir=live_hub.cache)
    batch = {"operation": "download", "objects": [{"oid": "0" * 64, "size": 1}]}
    refused(
        live_hub.http(live_hub.bob).post(f"/{REPO}.git/info/lfs/objects/batch", json=batch), 403
    )
    assert live_hub.api().hf_hub_download(REPO, "w.bin", cache_dir=live_hub.cache)


def test_bytes_behind_a_gate_cannot_be_claimed_by_digest(live_hub: LiveHub, api: HfApi):
    bob = live_hub.api(live_hub.bob)
    bob.create_repo("bob/copy")
    [entry] = [each for each in bob.list_repo_tree(REPO) if each.path == "w.bin"]
    line = '{"key":"header","value":{"summary":"s"}}\n{"key":"lfsFile","value":{"path":"w.bin",'
    line += f'"algo":"sha256","oid":"{entry.lfs.sha256}"}}}}\n'
    answer = live_hub.http(live_hub.bob).post("/api/models/bob/copy/commit/main", content=line)
    assert answer.headers["X-Error-Code"] == "MissingUploads"
    with pytest.raises(GatedRepoError):
        bob.duplicate_repo(REPO, "bob/stolen")


def test_owners_let_in_and_send_away(live_hub: LiveHub, api: HfApi):
    bob = live_hub.api(live_hub.bob)
    api.grant_access(REPO, "bob")
    bob.auth_check(REPO)
    [request] = api.list_accepted_access_requests(REPO)
    assert (request.username, request.email, request.status) == ("bob", None, "accepted")
    api.cancel_access_request(REPO, "bob")
    with pytest.raises(GatedRepoError):
        bob.auth_check(REPO)
    [request] = api.list_pending_access_requests(REPO)
    api.reject_access_request(REPO, "bob", rejection_reason="no")
    assert not list(api.list_pending_access_requests(REPO))
    api.accept_access_request(REPO, request_id=request.request_id)
    bob.auth_check(REPO)
    with pytest.raises(HfHubHTTPError) as twice:
        api.accept_access_request(REPO, "bob")
    assert twice.value.response.status_code == 404
    with pytest.raises(HfHubHTTPError) as twice:
        api.grant_access(REPO, "bob")
    assert twice.value.response.status_code == 400


def test_asking_waits_for_the_owner_unless_the_gate_is_automatic(live_hub: LiveHub, api: HfApi):
    token = create_user(live_hub.hub, "carol", email="carol@example.org").token
    http, carol = live_hub.http(token), live_hub.api(token)
    assert http.post(f"/{REPO}/ask-access").json() == {"status": "pending"}
    [request] = api.list_pending_access_requests(REPO)
    assert (request.username, request.email) == ("carol", "carol@example.org")
    with pytest.raises(GatedRepoError):
        carol.auth_check(REPO)
    api.update_repo_settings(REPO, gated="auto")
    assert http.post(f"/{REPO}/ask-access").json() == {"status": "accepted"}
    carol.auth_check(REPO)
    api.reject_access_request(REPO, "carol", rejection_reason=None)
    assert http.post(f"/{REPO}/ask-access").json() == {"status": "rejected"}
    assert live_hub.http(None).post(f"/{REPO}/ask-access").status_code == 401


def test_access_to_a_private_repo_is_not_had_by_its_gate(live_hub: LiveHub, api: HfApi):
    api.grant_access(REPO, "bob")
    api.update_repo_settings(REPO, private=True)
    assert not live_hub.api(live_hub.bob).repo_exists(REPO)
    assert live_hub.http(live_hub.bob).get(FILES[0]).headers["X-Error-Code"] == "RepoNotFound"


def test_only_owners_decide(live_hub: LiveHub, api: HfApi):
    bob = live_hub.api(live_hub.bob)
    for act in (
        lambda: bob.grant_access(REPO, "bob"),
        lambda: list(bob.list_pending_access_requests(REPO)),
        lambda: bob.accept_access_request(REPO, "bob"),
        lambda: bob.update_repo_settings(REPO, gated=False),
    ):
        with pytest.raises(HfHubHTTPError) as refusal:
            act()
        assert refusal.value.response.status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("grant", {"user": "nobody"}, 404),
        ("grant", {"user": "acme"}, 404),
        ("grant", {}, 400),
        ("handle", {"status": "accepted"}, 400),
        ("handle", {"status": "accepted", "user": "bob", "requestId": "1"}, 400),
        ("handle", {"status": "accepted", "user": "bob"}, 404),
        ("handle", {"status": "maybe", "user": "bob"}, 400),
        ("handle", {"status": "accepted", "requestId": "zz"}, 404),
        ("handle", {"status": "accepted", "requestId": "f" * 24}, 404),
        ("handle", {"status": "rejected", "user": "bob", "rejectionReason": "x" * 201}, 400),
    ],
)
def test_odd_decisions_are_refused(live_hub: LiveHub, api: HfApi, path, body, status):
    url = f"/api/models/{REPO}/user-access-request/{path}"
    assert live_hub.http().post(url, json=body).status_code == status


def test_open_repos_have_no_requests(live_hub: LiveHub, api: HfApi):
    api.update_repo_settings(REPO, gated=False)
    live_hub.api(None).auth_check(REPO)
    http = live_hub.http()
    assert http.get(f"/api/models/{REPO}/user-access-request/pending").status_code == 400
    assert http.post(f"/{REPO}/ask-access").status_code == 400


def test_gated_repos_are_listed_by_that(live_hub: LiveHub, api: HfApi):
    api.create_repo("alice/open")
    assert [model.id for model in api.list_models(gated=True)] == [REPO]
    assert [model.id for model in api.list_models(gated=False)] == ["alice/open"]
    api.create_commit("alice/open", [add("a", b"a")], commit_message="a")
