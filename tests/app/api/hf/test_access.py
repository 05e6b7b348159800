"""Who may write: every writing route, asked by everybody who may not."""

import hashlib

import httpx
import pytest

from app.accounts.users import give_token
from app.gc.fsck import fsck
from tests.fixtures.api import LiveHub

MODEL = "/api/models/alice/model"
SECRET = "/api/models/alice/secret"
HEADER = b'{"key":"header","value":{"summary":"s"}}\n'
OBJECT = {"oid": "0" * 64, "size": 3}

WRITES = {
    "create": ("POST", "/api/repos/create", {"name": "new", "organization": "alice"}),
    "delete": ("DELETE", "/api/repos/delete", {"name": "model", "organization": "alice"}),
    "move": (
        "POST",
        "/api/repos/move",
        {"fromRepo": "alice/model", "toRepo": "alice/new", "type": "model"},
    ),
    "settings": ("PUT", f"{MODEL}/settings", {"private": True}),
    "gate": ("PUT", f"{MODEL}/settings", {"gated": "auto"}),
    "requests": ("GET", f"{MODEL}/user-access-request/pending", None),
    "grant": ("POST", f"{MODEL}/user-access-request/grant", {"user": "bob"}),
    "handle": (
        "POST",
        f"{MODEL}/user-access-request/handle",
        {"user": "bob", "status": "accepted"},
    ),
    "preupload": ("POST", f"{MODEL}/preupload/main", {"files": []}),
    "commit": ("POST", f"{MODEL}/commit/main", HEADER),
    "branch": ("POST", f"{MODEL}/branch/new", {}),
    "delete-branch": ("DELETE", f"{MODEL}/branch/main", None),
    "tag": ("POST", f"{MODEL}/tag/main", {"tag": "v1"}),
    "delete-tag": ("DELETE", f"{MODEL}/tag/v1", None),
    "lfs": (
        "POST",
        "/alice/model.git/info/lfs/objects/batch",
        {"operation": "upload", "objects": [OBJECT], "ref": {"name": "refs/heads/main"}},
    ),
    "xet": ("GET", f"{MODEL}/xet-write-token/main", None),
    "auth-check": ("GET", f"{MODEL}/auth-check/write", None),
}
SECRETS = {
    name: (method, url.replace("alice/model", "alice/secret"), body)
    for name, (method, url, body) in WRITES.items()
    if "alice/model" in url
}
READS = ["", "/tree/main", "/refs", "/commits/main", "/revision/main", "/auth-check", "/likers"]


@pytest.fixture
def two_repos(live_hub: LiveHub) -> LiveHub:
    """alice/model is public, alice/secret is not."""
    live_hub.api().create_repo("alice/model")
    live_hub.api().create_repo("alice/secret", private=True)
    return live_hub


def send(client: httpx.Client, method: str, url: str, body: object) -> httpx.Response:
    if isinstance(body, bytes):
        return client.request(method, url, content=body)
    return client.request(method, url, json=body)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (status, code), answer.text
    assert answer.headers["X-Error-Message"]
    return answer.json()["error"]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_only_the_owners_write_tokens_write(two_repos: LiveHub, write: tuple) -> None:
    reader = give_token(two_repos.hub, "alice", role="read")
    asked = {
        "read token": (two_repos.http(reader), 403, "Forbidden"),
        "stranger": (two_repos.http(two_repos.bob), 403, "Forbidden"),
        "anonymous": (two_repos.http(None), 401, "Unauthorized"),
        "bad token": (two_repos.http("hf_wrong"), 401, "Unauthorized"),
    }

    for client, status, code in asked.values():
        refused(send(client, *write), status, code)

    assert two_repos.api().repo_exists("alice/model")
    assert not two_repos.api().repo_exists("alice/new")


@pytest.mark.parametrize("write", SECRETS.values(), ids=SECRETS.keys())
def test_private_repos_cannot_be_told_from_missing_ones(two_repos: LiveHub, write: tuple) -> None:
    method, url, body = write
    missing = url.replace("alice/secret", "alice/missing")
    for token in (two_repos.bob, None):
        client = two_repos.http(token)
        private, absent = send(client, method, url, body), send(client, method, missing, body)
        assert (private.status_code, private.json().get("error")) == (
            absent.status_code,
            absent.json().get("error"),
        )
        assert private.status_code == (401 if token is None else 404)


@pytest.mark.parametrize("path", READS)
def test_private_repos_are_read_by_their_owners_only(two_repos: LiveHub, path: str) -> None:
    reader = give_token(two_repos.hub, "alice", role="read")
    assert two_repos.http(reader).get(SECRET + path).status_code == 200
    refused(two_repos.http(two_repos.bob).get(SECRET + path), 404, "RepoNotFound")
    refused(two_repos.http(None).get(SECRET + path), 401, "RepoNotFound")
    refused(two_repos.http("hf_wrong").get(SECRET + path), 401, "Unauthorized")


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/cas/1-x/v1/chunks/default/" + "0" * 64),
        ("POST", "/cas/1-x/v1/xorbs/default/" + "0" * 64),
        ("POST", "/cas/1-x/v1/xorb-grants/default/" + "0" * 64),
        ("POST", "/cas/1-x/v1/shards"),
        ("POST", "/cas/1-x/v2/shards"),
    ],
)
@pytest.mark.parametrize("token", [None, "hf_alice", "hf_wrong", "YQ.YQ"])
def test_xet_lane_takes_its_own_tokens_only(
    two_repos: LiveHub, method: str, url: str, token: str | None
) -> None:
    refused(two_repos.http(token).request(method, url), 401, "Unauthorized")


@pytest.mark.parametrize(
    ("method", "url"),
    [("PUT", "/lfs/objects/YQ.YQ"), ("GET", "/lfs/objects/YQ.YQ"), ("POST", "/lfs/verify/YQ.YQ"),
     ("PUT", "/lfs/uploads/YQ.YQ/parts/1"), ("POST", "/lfs/uploads/YQ.YQ")],
)  # fmt: skip
def test_lfs_links_must_be_ours(two_repos: LiveHub, method: str, url: str) -> None:
    assert "batch" in refused(two_repos.http().request(method, url, json={}), 403, "Forbidden")


def test_truncated_and_wrong_uploads_leave_nothing(two_repos: LiveHub) -> None:
    client = two_repos.http()
    data = b"abc" * 5_000
    wanted = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    batch = client.post(
        "/alice/model.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [wanted]},
    ).json()
    href = batch["objects"][0]["actions"]["upload"]["href"]

    short = refused(client.put(href, content=data[:-1]), 422, "IntegrityError")
    long = refused(client.put(href, content=data + b"d"), 422, "IntegrityError")
    chunked = refused(client.put(href, content=iter([data[:-1]])), 422, "IntegrityError")
    other = refused(client.put(href, content=b"x" * len(data)), 422, "IntegrityError")
    line = b'{"key":"lfsFile","value":{"path":"a.bin","algo":"sha256","oid":"%s","size":%d}}\n'
    named = client.post(
        f"{MODEL}/commit/main", content=HEADER + line % (wanted["oid"].encode(), len(data))
    )

    assert refused(named, 422, "MissingUploads")
    assert all("15000" in each or "sha256" in each for each in (short, long, chunked, other))
    assert two_repos.api().list_repo_files("alice/model") == [".gitattributes"]
    report = fsck(two_repos.hub, deep=True)
    assert report.clean, report.problems


def test_commit_that_names_another_size_is_refused(two_repos: LiveHub) -> None:
    client = two_repos.http()
    two_repos.api().upload_file(
        path_or_fileobj=b"x" * 1000, path_in_repo="model.bin", repo_id="alice/model"
    )
    oid = hashlib.sha256(b"x" * 1000).hexdigest().encode()
    line = b'{"key":"lfsFile","value":{"path":"b.bin","algo":"sha256","oid":"%s","size":999}}\n'

    answer = client.post(f"{MODEL}/commit/main", content=HEADER + line % oid)

    refused(answer, 422, "MissingUploads")
    assert "b.bin" not in two_repos.api().list_repo_files("alice/model")


def test_commit_body_beyond_its_limit_is_refused(two_repos: LiveHub) -> None:
    limits = two_repos.hub.settings.limits.model_copy(update={"commit_nbytes": 1 << 20})
    two_repos.hub.settings = two_repos.hub.settings.model_copy(update={"limits": limits})
    line = b'{"key":"file","value":{"path":"a%d","content":"%s"}}\n'
    body = HEADER + b"".join(line % (number, b"QUFB" * 50_000) for number in range(8))

    answer = two_repos.http().post(f"{MODEL}/commit/main", content=body)

    assert "limits.commit_nbytes" in refused(answer, 413, "LimitExceeded")
    assert two_repos.api().list_repo_files("alice/model") == [".gitattributes"]
    assert fsck(two_repos.hub, deep=True).clean
