"""Tokens over HTTP: what a scope opens and keeps shut, ends, revocation, and links made before."""

import hashlib
from datetime import timedelta

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError

from app.accounts.issuing import ScopeName, issue_token
from app.accounts.users import create_org, join_org
from app.clock import ManualClock
from tests.fixtures.api import LiveHub, add

DATA = b"weights" * 3_000
OID = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def owned(live_hub: LiveHub) -> LiveHub:
    """Alice's private repos one and two, and one of acme's, each with a big file."""
    for name in ("alice/one", "alice/two", "acme/three"):
        live_hub.api().create_repo(name, private=True)
        live_hub.api().create_commit(name, [add("m.bin", DATA)], commit_message="add")
    live_hub.api().create_repo("alice/open")
    return live_hub


def scoped(owned: LiveHub, *scopes: str) -> str:
    names = [ScopeName(each.rpartition(":")[0], each.endswith(":write")) for each in scopes]
    return issue_token(owned.hub, "alice", name="ci", role="fineGrained", scopes=names)[1]


def status(call, *args, **kwargs) -> int:
    try:
        call(*args, **kwargs)
    except HfHubHTTPError as error:
        return error.response.status_code
    return 200


def test_a_token_for_one_repo_reads_that_repo_alone(owned: LiveHub):
    api = owned.api(scoped(owned, "alice/one:read"))
    assert status(api.model_info, "alice/one") == 200
    assert status(api.model_info, "alice/open") == 200
    assert status(api.model_info, "alice/two") == status(api.model_info, "acme/three") == 404
    assert {each.id for each in api.list_models()} == {"alice/one", "alice/open"}
    assert {each.id for each in api.list_models(author="alice")} == {"alice/one", "alice/open"}
    assert (
        status(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id="alice/one") > 400
    )
    assert status(api.create_repo, "alice/new") == 403
    assert status(api.delete_repo, "alice/one") == 403


def test_a_token_for_one_repo_writes_to_that_repo_alone(owned: LiveHub):
    api = owned.api(scoped(owned, "alice/one:write"))
    api.upload_file(path_or_fileobj=DATA[1:], path_in_repo="n.bin", repo_id="alice/one")
    for repo, refused in (("alice/two", 404), ("acme/three", 404), ("alice/open", 403)):
        upload = {"path_or_fileobj": b"x", "path_in_repo": "x", "repo_id": repo}
        assert status(api.upload_file, **upload) == refused
    assert status(api.move_repo, "alice/one", "alice/elsewhere") == 403


def test_a_token_for_a_namespace_makes_repos_there_alone(owned: LiveHub):
    api = owned.api(scoped(owned, "acme:write", "alice:read"))
    assert status(api.create_repo, "acme/new", private=True) == 200
    assert status(api.create_repo, "alice/new") == 403
    assert status(api.model_info, "alice/two") == 200
    http = owned.http(scoped(owned, "acme:write"))
    assert http.post("/api/organizations/acme/members", json={"user": "bob"}).status_code == 403
    assert http.get("/api/settings/repositories").status_code in {200, 403}


def test_a_scope_ends_where_its_user_has_no_right(owned: LiveHub):
    create_org(owned.hub, "labs", admins=["bob"])
    join_org(owned.hub, "labs", "alice", "read")
    owned.api(owned.bob).create_repo("labs/paper", private=True)
    api = owned.api(scoped(owned, "labs/paper:write"))
    assert status(api.model_info, "labs/paper") == 200
    assert status(api.create_tag, "labs/paper", tag="v1") == 403
    owned.http(owned.bob).delete("/api/organizations/labs/members/alice").raise_for_status()
    assert status(api.model_info, "labs/paper") == 404


def test_whoami_tells_the_scope_as_the_hub_does(owned: LiveHub):
    told = owned.api(scoped(owned, "alice/one:write", "acme:read")).whoami()["auth"]["accessToken"]
    assert (told["role"], told["displayName"]) == ("fineGrained", "ci")
    scopes = {each["entity"]["name"]: each for each in told["fineGrained"]["scoped"]}
    assert "repo.write" in scopes["alice/one"]["permissions"]
    assert scopes["alice/one"]["entity"]["type"] == "model"
    assert scopes["acme"]["permissions"] == ["repo.content.read"]


def test_no_token_makes_one_that_is_worth_more(owned: LiveHub):
    reader = issue_token(owned.hub, "alice", name="r", role="read")[1]
    for token in (reader, scoped(owned, "alice:write")):
        made = owned.http(token).post("/api/clade/tokens", json={"name": "x", "role": "write"})
        assert made.status_code == 403
    assert owned.http(None).post("/api/clade/tokens", json={"name": "x"}).status_code == 401


def test_tokens_are_made_listed_and_revoked(owned: LiveHub):
    http = owned.http()
    body = {
        "name": "nightly",
        "role": "fineGrained",
        "scopes": [{"entity": "alice/one", "permission": "read"}],
        "expiresInSeconds": 3600,
    }
    made = http.post("/api/clade/tokens", json=body).raise_for_status().json()
    [listed] = [t for t in http.get("/api/clade/tokens").json() if t["id"] == made["id"]]
    assert made["token"] not in http.get("/api/clade/tokens").text
    assert listed["scopes"] == [{"entity": "alice/one", "permission": "read"}]
    assert listed["expiresAt"]
    one = f"/api/clade/tokens/{made['id']}"
    assert owned.http(owned.bob).delete(one).status_code == 404
    assert owned.http(made["token"]).get("/api/whoami-v2").status_code == 200
    http.delete(one).raise_for_status()
    assert owned.http(made["token"]).get("/api/whoami-v2").status_code == 401
    for wrong in ({"name": ""}, {"name": "x", "role": "fineGrained"},
                  {"name": "x", "scopes": [{"entity": "alice"}]}):  # fmt: skip
        assert http.post("/api/clade/tokens", json=wrong).status_code == 400
    nowhere = {"name": "x", "role": "fineGrained", "scopes": [{"entity": "alice/none"}]}
    assert http.post("/api/clade/tokens", json=nowhere).status_code == 404


def test_a_token_ends(owned: LiveHub):
    clock = ManualClock()
    owned.hub.clock = clock
    token = issue_token(owned.hub, "alice", name="short", role="read", lasts=timedelta(minutes=1))[
        1
    ]
    assert owned.http(token).get("/api/whoami-v2").status_code == 200
    clock.advance(61)
    refused = owned.http(token).get("/api/whoami-v2")
    assert refused.status_code == 401
    assert "Invalid credentials" in refused.json()["error"]


def batch(owned: LiveHub, token: str, operation: str) -> str:
    """The link that a batch answer holds."""
    oid, size = (OID, len(DATA)) if operation == "download" else ("ab" * 32, 10)
    answer = owned.http(token).post(
        "/alice/one.git/info/lfs/objects/batch",
        json={"operation": operation, "objects": [{"oid": oid, "size": size}]},
    )
    return answer.json()["objects"][0]["actions"][operation]["href"]


def reconstruction(owned: LiveHub, token: str) -> tuple[httpx.Response, str]:
    told = owned.http(token).get("/api/models/alice/one/xet-read-token/main").json()
    http = owned.http(told["accessToken"])
    answer = http.get(f"{told['casUrl']}/v2/reconstructions/{OID}")
    return answer, told["accessToken"]


def test_links_end_with_the_token_that_they_were_made_for(owned: LiveHub):
    token_id, token = issue_token(owned.hub, "alice", name="gone", role="write")
    down, up = batch(owned, token, "download"), batch(owned, token, "upload")
    plan, xet = reconstruction(owned, token)
    [[term]] = plan.json()["xorbs"].values()
    write = owned.http(token).get("/api/models/alice/one/xet-write-token/main").json()
    nobody = owned.http(None)
    assert nobody.get(down).content == DATA
    assert nobody.get(term["url"]).status_code == 200
    owned.http().delete(f"/api/clade/tokens/{token_id}").raise_for_status()

    assert nobody.get(down).status_code == nobody.get(term["url"]).status_code == 403
    assert nobody.put(up, content=b"x" * 10).status_code == 403
    again = owned.http(xet).get(f"{owned.url}/cas/files/v2/reconstructions/{OID}")
    assert again.status_code == 403
    xorb = owned.http(write["accessToken"]).post(
        f"{write['casUrl']}/v1/xorbs/default/{'0' * 64}", content=b"x"
    )
    assert xorb.status_code == 403


def test_links_end_when_a_repo_is_closed(owned: LiveHub):
    owned.api().update_repo_settings("alice/one", private=False)
    answer, xet = reconstruction(owned, owned.bob)
    down = batch(owned, owned.bob, "download")
    assert answer.status_code == 200
    owned.api().update_repo_settings("alice/one", private=True)
    guess = owned.http(xet).get(f"{owned.url}/cas/files/v2/reconstructions/{OID}")
    missing = owned.http(xet).get(f"{owned.url}/cas/files/v2/reconstructions/{'0' * 64}")
    assert guess.status_code == missing.status_code == 403
    assert guess.json() == missing.json()
    assert owned.http(None).get(down).status_code == 403
