"""Wrong input: a proper status, a code, a message of one ASCII line, and nothing half-written."""

import base64
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from huggingface_hub import CommitOperationAdd

from tests.fixtures.api import LiveHub

REPO = "alice/model"
COMMIT = f"/api/models/{REPO}/commit/main"
HEADER = {"key": "header", "value": {"summary": "s", "description": ""}}


@pytest.fixture
def client(live_hub: LiveHub) -> httpx.Client:
    live_hub.api().create_repo(REPO)
    return live_hub.http()


def ndjson(*lines: dict) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def inline(path: str, content: bytes = b"x") -> dict:
    encoded = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": encoded, "encoding": "base64"}}


def refused(answer: httpx.Response, *statuses: int) -> str:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["X-Error-Code"]
    assert answer.headers["X-Request-Id"]
    message = answer.headers["X-Error-Message"]
    assert message.isascii()
    assert message.isprintable()
    return answer.json()["error"]


def head(live_hub: LiveHub) -> str | None:
    return live_hub.api().model_info(REPO).sha


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a\\b", "a\nb", "a\x00b", "a/" * 40 + "x", "x" * 2000, ".git/config",
     "C:/x", "a\u202egpj", "nul.txt", "e\u0301", "a//b", "a/", "\ud800"],
)  # fmt: skip
def test_path_tricks_are_refused_in_commits(live_hub: LiveHub, client: httpx.Client, path: str):
    before = head(live_hub)
    refused(client.post(COMMIT, content=ndjson(HEADER, inline(path))), 400, 413, 422)
    lfs = {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": "0" * 64}}
    refused(client.post(COMMIT, content=ndjson(HEADER, lfs)), 400, 413, 422)
    files = {"files": [{"path": path, "size": 1, "sample": ""}]}
    answer = client.post(f"/api/models/{REPO}/preupload/main", content=json.dumps(files))
    refused(answer, 400, 413, 422)
    assert head(live_hub) == before


def test_twins_are_refused(live_hub: LiveHub, client: httpx.Client):
    client.post(COMMIT, content=ndjson(HEADER, inline("Café"))).raise_for_status()
    before = head(live_hub)
    answer = client.post(COMMIT, content=ndjson(HEADER, inline("CAFÉ")))
    assert "differs from" in refused(answer, 422)
    assert head(live_hub) == before


@pytest.mark.parametrize(
    "url",
    ["/api/models/alice/model/tree/main/a%00b", "/api/models/alice/model/tree/main/a%0Ab",
     "/api/models/alice/model/tree/main/%ff", "/api/models?search=%00"],
)  # fmt: skip
def test_control_characters_in_urls_are_refused(client: httpx.Client, url: str):
    refused(client.get(url), 400, 422)


@pytest.mark.parametrize(
    "url",
    ["/api/models/alice/model/tree/main/..%2F..%2Fetc", "/api/models/alice/a%2Fb",
     "/api/models/alice%2Fmodel", "/api/models/alice/model/revision/%2e%2e", "/nope",
     "/api/models/alice/model/nope"],
)  # fmt: skip
def test_encoded_slashes_never_separate(client: httpx.Client, url: str):
    refused(client.get(url), 404)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no header"),
        (ndjson(HEADER, HEADER), "two header"),
        (ndjson({"key": "header", "value": {}}), "summary"),
        (ndjson({"key": "header", "value": {"summary": " "}}), "summary"),
        (ndjson(HEADER, {"key": "what", "value": {}}), "key"),
        (ndjson(HEADER, {"key": "file", "value": {"path": "a"}}), "content"),
        (ndjson(HEADER, {"key": "file", "value": {"path": "a", "content": "*&^"}}), "base64"),
        (ndjson(HEADER, {"key": "file", "value": {"path": 3, "content": ""}}), "path"),
        (ndjson(HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "zz"}}), "oid"),
        (ndjson(HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "0" * 64, "size": -1}}),
         "size"),
        (ndjson(HEADER, {"key": "deletedFile", "value": {"path": ""}}), "empty"),
        (b"{not json}\n", "not JSON"),
        (b'{"key":"header","key":"header","value":{}}\n', "duplicate"),
        (b'{"key":"header","value":{"summary":NaN}}\n', "NaN"),
        (b'{"key":"header","value":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}\n", "nested"),
        (b'{"key":"header","value":' + b"[" * 200_000 + b"\n", "nested"),
        (b"\xff\xfe\n", "JSON"),
        (ndjson({"key": "header", "value": {"summary": "x" * 70_000}}), "message_nbytes"),
        (ndjson({"key": "header", "value": {"summary": "s", "parentCommit": "abc"}}), "seven"),
    ],
)  # fmt: skip
def test_malformed_commits_say_what_is_wrong(
    live_hub: LiveHub, client: httpx.Client, body: bytes, said: str
):
    before = head(live_hub)
    assert said in refused(client.post(COMMIT, content=body), 400, 413, 422)
    assert head(live_hub) == before


def test_a_huge_line_is_refused_while_it_arrives(client: httpx.Client):
    def chunks() -> Iterator[bytes]:
        yield ndjson(HEADER)
        yield b'{"key":"file","value":{"path":"a","content":"'
        for _ in range(20):
            yield b"A" * (1 << 20)

    message = refused(client.post(COMMIT, content=chunks()), 413)
    assert "limits.commit_line_nbytes" in message


def test_too_many_operations_are_refused(client: httpx.Client):
    line = ndjson({"key": "deletedFile", "value": {"path": "a"}})
    message = refused(client.post(COMMIT, content=ndjson(HEADER) + line * 25_001), 413)
    assert "limits.commit_operations" in message


def test_an_inline_file_beyond_its_limit_is_refused(client: httpx.Client):
    body = ndjson(HEADER, inline("big.txt", b"x" * ((10 << 20) + 1)))
    assert "limits.inline_file_nbytes" in refused(client.post(COMMIT, content=body), 413)


def test_a_json_body_beyond_its_limit_is_refused(client: httpx.Client):
    body = {"name": "x" * (3 << 20)}
    assert "limits.json_nbytes" in refused(client.post("/api/repos/create", json=body), 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * (1 << 20)

    answer = client.post(
        "/api/repos/create", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert "limits.json_nbytes" in refused(answer, 413)


def test_compressed_bodies_are_refused(client: httpx.Client):
    answer = client.post(COMMIT, content=ndjson(HEADER), headers={"Content-Encoding": "gzip"})
    assert "compressed" in refused(answer, 400)


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", "/api/repos/create", {"name": 3}),
        ("POST", "/api/repos/create", {"name": "a/b/c"}),
        ("POST", "/api/repos/create", {"name": "x", "type": "shelf"}),
        ("POST", "/api/repos/create", {"name": "x\x00"}),
        ("POST", "/api/repos/create", []),
        ("PUT", f"/api/models/{REPO}/settings", {"gated": "yes"}),
        ("POST", f"/api/models/{REPO}/paths-info/main", {"paths": ["a"] * 2001}),
        ("POST", f"/api/models/{REPO}/preupload/main", {"files": [{"path": "a", "size": -1}]}),
        ("POST", f"/api/models/{REPO}/preupload/main",
         {"files": [{"path": f"{n}", "size": 1} for n in range(1001)]}),
        ("POST", f"/api/models/{REPO}/tag/main", {"tag": "a..b"}),
        ("POST", f"/api/models/{REPO}/tag/main", {"tag": ""}),
        ("POST", f"/api/models/{REPO}/branch/a%20b", {}),
        ("GET", "/api/models?sort=nope", None),
        ("GET", "/api/models?limit=many", None),
        ("GET", "/api/models?cursor=AAAA", None),
        ("GET", "/api/models?cursor=WyJ4IiwgMV0=", None),
        ("GET", f"/api/models/{REPO}/tree/main?cursor=%25", None),
    ],
)  # fmt: skip
def test_bad_requests_are_answered_in_one_shape(
    client: httpx.Client, method: str, url: str, body: object
):
    refused(client.request(method, url, json=body), 400, 413, 422)


def test_writing_needs_a_write_token_and_rights(live_hub: LiveHub, client: httpx.Client):
    body = ndjson(HEADER, inline("a"))
    refused(live_hub.http(None).post(COMMIT, content=body), 401)
    refused(live_hub.http(live_hub.bob).post(COMMIT, content=body), 403)
    refused(live_hub.http("hf_wrong").post(COMMIT, content=body), 401)
    refused(live_hub.http(None).post("/api/repos/create", json={"name": "x"}), 401)


def test_request_ids_are_echoed(client: httpx.Client):
    named = client.get("/healthz", headers={"X-Request-Id": "me-1"})
    assert named.headers["X-Request-Id"] == "me-1"
    traced = client.get("/nope", headers={"X-Amzn-Trace-Id": "trace"})
    assert traced.headers["X-Request-Id"] == "trace"
    assert client.get("/healthz").headers["X-Request-Id"]


def test_a_retried_commit_is_made_once(live_hub: LiveHub, client: httpx.Client):
    body = ndjson(
        {"key": "header", "value": {"summary": "s", "parentCommit": head(live_hub)}}, inline("a")
    )
    first = client.post(COMMIT, content=body).json()
    again = client.post(COMMIT, content=body)
    assert again.status_code == 200
    assert again.json() == first
    assert len(live_hub.api().list_repo_commits(REPO)) == 2


def test_racing_committers_make_a_linear_history(live_hub: LiveHub, client: httpx.Client):
    failures: list[BaseException] = []
    made: list[str] = []

    def write(writer: int) -> None:
        try:
            api = live_hub.api()
            for number in range(3):
                operation = CommitOperationAdd(f"{writer}/{number}.txt", f"{writer}".encode())
                made.append(
                    api.create_commit(REPO, [operation], commit_message=f"{writer}-{number}").oid
                )
        except BaseException as error:  # noqa: BLE001  reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    commits = [commit.commit_id for commit in live_hub.api().list_repo_commits(REPO)]
    assert len(commits) == 16 * 3 + 1
    assert sorted(commits[:-1]) == sorted(made)
    assert len(live_hub.api().list_repo_files(REPO)) == 16 * 3 + 1


def test_of_racing_commits_with_one_parent_one_wins(live_hub: LiveHub, client: httpx.Client):
    parent = head(live_hub)
    statuses: list[int] = []

    def write(writer: int) -> None:
        header = {"key": "header", "value": {"summary": f"{writer}", "parentCommit": parent}}
        body = ndjson(header, inline(f"{writer}"))
        statuses.append(live_hub.http().post(COMMIT, content=body).status_code)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 15


def test_a_commit_retried_after_others_committed_is_made_once(
    live_hub: LiveHub, client: httpx.Client
):
    body = ndjson(HEADER, inline("a", b"mine"))
    first = client.post(COMMIT, content=body).json()
    client.post(COMMIT, content=ndjson(HEADER, inline("b"))).raise_for_status()
    newest = head(live_hub)

    assert client.post(COMMIT, content=body).json() == first

    assert head(live_hub) == newest
    assert len(live_hub.api().list_repo_commits(REPO)) == 3


def test_a_commit_whose_effect_was_taken_back_is_made_again(
    live_hub: LiveHub, client: httpx.Client
):
    body = ndjson(HEADER, inline("a", b"mine"))
    first = client.post(COMMIT, content=body).json()
    client.post(COMMIT, content=ndjson(HEADER, inline("a", b"theirs"))).raise_for_status()

    assert client.post(COMMIT, content=body).json() != first

    assert client.get(f"/{REPO}/resolve/main/a").content == b"mine"
    assert len(live_hub.api().list_repo_commits(REPO)) == 4
