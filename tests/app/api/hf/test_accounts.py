"""Users, organisations and what their repositories take up, with the stock client and its CLI."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from app.accounts.users import create_org, create_user
from app.jobs.runner import drain
from app.tasks import HANDLERS
from tests.fixtures.api import REPO, LiveHub


@pytest.fixture
def api(live_hub: LiveHub, live_repo: str) -> HfApi:
    """Alice's client, with a public and a private model and a dataset of acme's."""
    api = live_hub.api()
    api.create_repo("alice/secret", private=True)
    api.create_repo("acme/data", repo_type="dataset", private=True)
    return api


def status_of(refused: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return refused.value.response.status_code


def test_overviews_count_what_exists_for_the_caller(live_hub: LiveHub, api: HfApi):
    mine, others = api.get_user_overview("ALICE"), live_hub.api(None).get_user_overview("alice")
    assert (mine.username, mine.num_models, others.num_models) == ("alice", 2, 1)
    assert [org.name for org in others.orgs] == ["acme"]
    acme = api.get_organization_overview("acme")
    assert (acme.name, acme.num_users, acme.num_datasets) == ("acme", 1, 1)
    assert live_hub.api(live_hub.bob).get_organization_overview("acme").num_datasets == 0
    for name in ("nobody", "acme", "x" * 200):
        with pytest.raises(HfHubHTTPError) as refused:
            api.get_user_overview(name)
        assert status_of(refused) == 404
    with pytest.raises(HfHubHTTPError):
        api.get_organization_overview("alice")
    assert list(api.list_user_followers("alice")) == list(api.list_user_following("alice")) == []
    assert list(api.list_organization_followers("acme")) == []


def test_members_join_change_roles_and_leave(live_hub: LiveHub, api: HfApi):
    http, bob = live_hub.http(), live_hub.http(live_hub.bob)
    members = "/api/organizations/acme/members"
    assert bob.post(members, json={"user": "bob", "role": "admin"}).status_code == 403
    assert http.post(members, json={"user": "bob"}).status_code == 200
    assert {user.username for user in api.list_organization_members("acme")} == {"alice", "bob"}
    roles = {each["user"]: each["role"] for each in bob.get(members).json()}
    assert roles == {"alice": "admin", "bob": "read"}
    assert "role" not in live_hub.http(None).get(members).json()[0]
    assert live_hub.api(live_hub.bob).repo_exists("acme/data", repo_type="dataset")
    changed = http.put(f"{members}/bob/role", json={"role": "write"})
    assert changed.status_code == 200
    orgs = live_hub.api(live_hub.bob).whoami()["orgs"]
    assert [(org["name"], org["roleInOrg"]) for org in orgs] == [("acme", "write")]
    assert bob.put(f"{members}/alice/role", json={"role": "read"}).status_code == 403
    assert bob.delete(f"{members}/bob").status_code == 200
    assert bob.delete(f"{members}/bob").status_code == 404
    assert http.delete(f"{members}/alice").status_code == 409
    assert http.put(f"{members}/alice/role", json={"role": "read"}).status_code == 409
    assert http.put(f"{members}/alice/role", json={"role": "king"}).status_code == 400


def test_members_are_listed_in_pages(live_hub: LiveHub, api: HfApi):
    for number in range(5):
        create_user(live_hub.hub, f"member{number}", orgs=["acme"])
    http = live_hub.http()
    url, names = "/api/organizations/acme/members?limit=2", []
    while url:
        answer = http.get(url)
        names += [each["user"] for each in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert sorted(names) == ["alice", *(f"member{n}" for n in range(5))]
    bad = http.get("/api/organizations/acme/members?cursor=WyJ4Il0=")
    assert bad.status_code == 400


def test_organisations_are_made_by_users(live_hub: LiveHub):
    bob = live_hub.http(live_hub.bob)
    assert bob.post("/api/organizations", json={"name": "lab", "fullname": "The Lab"}).is_success
    [org] = live_hub.api(live_hub.bob).whoami()["orgs"]
    assert (org["fullname"], org["roleInOrg"]) == ("The Lab", "admin")
    for name, status in (("LAB", 409), ("alice", 409), ("api", 400), ("a b", 400)):
        assert bob.post("/api/organizations", json={"name": name}).status_code == status
    assert live_hub.http(None).post("/api/organizations", json={"name": "x"}).status_code == 401


def test_organisations_may_keep_new_repos_to_themselves(live_hub: LiveHub):
    create_org(live_hub.hub, "vault", admins=["alice"], private_by_default=True)
    api = live_hub.api()
    api.create_repo("vault/a")
    api.create_repo("vault/b", visibility="public")
    assert api.model_info("vault/a", expand=["private"]).private is True
    assert api.model_info("vault/b", expand=["private"]).private is False


def test_storage_is_listed_per_repo(live_hub: LiveHub, api: HfApi):
    api.upload_file(path_or_fileobj=b"x" * 50_000, path_in_repo="x.bin", repo_id=REPO)
    drain(live_hub.hub, HANDLERS)
    repos = {repo.id: repo for repo in api.list_user_repos()}
    assert repos.keys() == {REPO, "alice/secret"}
    assert repos[REPO].storage == api.model_info(REPO).used_storage > 50_000
    assert repos["alice/secret"].visibility == "private"
    assert round(sum(repo.storage_percent for repo in repos.values())) == 100
    [data] = api.list_user_repos("acme")
    assert (data.id, data.type) == ("acme/data", "dataset")
    for name, status in (("acme", 403), ("nobody", 404)):
        with pytest.raises(HfHubHTTPError) as refused:
            list(live_hub.api(live_hub.bob).list_user_repos(name))
        assert status_of(refused) == status


def test_likes_are_counted_listed_and_taken_back(live_hub: LiveHub, api: HfApi):
    like = f"/api/models/{REPO}/like"
    for token in (live_hub.alice, live_hub.bob, live_hub.bob):
        live_hub.http(token).post(like).raise_for_status()
    live_hub.http().post("/api/models/alice/secret/like").raise_for_status()
    assert api.model_info(REPO).likes == 2
    assert [user.username for user in api.list_repo_likers(REPO)] == ["alice", "bob"]
    assert api.list_liked_repos().models == [REPO, "alice/secret"]
    assert live_hub.api(live_hub.bob).list_liked_repos("alice").models == [REPO]
    assert [model.id for model in api.list_models(sort="likes")] == [REPO, "alice/secret"]
    for _ in range(2):
        live_hub.api(live_hub.bob).unlike(REPO)
    assert api.model_info(REPO).likes == 1
    assert api.get_user_overview("alice").num_likes == 2
    for name in ("alice/missing", "missing"):
        with pytest.raises(RepositoryNotFoundError):
            api.unlike(name)
    assert live_hub.http(None).post(like).status_code == 401
    with pytest.raises(RepositoryNotFoundError):
        live_hub.api(live_hub.bob).unlike("alice/secret")
