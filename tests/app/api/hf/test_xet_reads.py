"""Xet downloads: by the real client, byte for byte, and by hand what it would never ask."""

import random

import httpx
import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.utils import build_hf_headers

from app.xet import virtual
from app.xet.xorb import CHUNK_RAW_NBYTES
from tests.fixtures.api import LiveHub, add

PIECE = 2 * CHUNK_RAW_NBYTES
DATA = random.Random(5).randbytes(5 * CHUNK_RAW_NBYTES + 321)


@pytest.fixture
def repo(live_hub: LiveHub, live_repo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a big file that is three xorbs, one of them short, and a small one."""
    monkeypatch.setattr(virtual, "XORB_RAW_NBYTES", PIECE)
    live_hub.api().create_commit(
        live_repo, [add("dir/w.bin", DATA), add("tiny.bin", b"x")], commit_message="weights"
    )
    return live_repo


class Cas:
    """The read routes as the client finds them."""

    def __init__(self, live_hub: LiveHub, repo: str, token: str | None = "hf_alice") -> None:
        self.hub_client = live_hub.http(token)
        facts = self.hub_client.get(f"/api/models/{repo}/xet-read-token/main")
        assert facts.status_code == 200, facts.text
        self.url = facts.json()["casUrl"]
        self.client = live_hub.http(facts.json()["accessToken"])

    def reconstruct(self, digest: str, version: str = "v2", **headers: str) -> httpx.Response:
        return self.client.get(f"{self.url}/{version}/reconstructions/{digest}", headers=headers)


def digest_of(live_hub: LiveHub, repo: str, path: str = "dir/w.bin") -> str:
    [entry] = live_hub.api().get_paths_info(repo, [path])
    assert entry.xet_hash is not None
    return entry.xet_hash


def read(live_hub: LiveHub, answer: dict) -> bytes:
    """What a client makes of a v2 reconstruction."""
    client, raw = live_hub.http(None), b""
    for term in answer["terms"]:
        [fetch] = answer["xorbs"][term["hash"]]
        [part] = fetch["ranges"]
        assert part["chunks"] == term["range"]
        wanted = f"bytes={part['bytes']['start']}-{part['bytes']['end']}"
        response = client.get(fetch["url"], headers={"range": wanted})
        assert response.status_code == 206
        wire, plain, at = response.content, b"", 0
        while at < len(wire):
            nbytes = int.from_bytes(wire[at + 5 : at + 8], "little")
            plain += wire[at + 8 : at + 8 + nbytes]
            at += 8 + nbytes
        assert len(plain) == term["unpacked_length"]
        raw += plain
    return raw[answer["offset_into_first_range"] :]


def test_the_client_downloads_in_parts(
    live_hub: LiveHub, repo: str, monkeypatch: pytest.MonkeyPatch
):
    called: list[str] = []

    def spy(**arguments):
        called.append(arguments["xet_file_data"].file_hash)
        return xet_get(**arguments)

    from huggingface_hub import file_download

    xet_get = file_download.xet_get
    monkeypatch.setattr(file_download, "xet_get", spy)
    folder = snapshot_download(
        repo, endpoint=live_hub.url, cache_dir=live_hub.cache, token=live_hub.alice
    )
    with open(f"{folder}/dir/w.bin", "rb") as file:
        assert file.read() == DATA
    assert sorted(called) == sorted(
        [digest_of(live_hub, repo), digest_of(live_hub, repo, "tiny.bin")]
    )


def test_files_say_how_to_be_read(live_hub: LiveHub, repo: str):
    metadata = get_hf_file_metadata(
        hf_hub_url(repo, "dir/w.bin", endpoint=live_hub.url),
        token=live_hub.alice,
        endpoint=live_hub.url,
    )
    assert metadata.xet_file_data is not None
    assert metadata.xet_file_data.file_hash == digest_of(live_hub, repo)
    headers = build_hf_headers(token=live_hub.alice)
    answer = httpx.get(metadata.xet_file_data.refresh_route, headers=headers)
    assert answer.json()["casUrl"] == answer.headers["x-xet-cas-url"]
    small = live_hub.http().head(f"/{repo}/resolve/main/.gitattributes")
    assert "x-xet-hash" not in small.headers


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, len(DATA)), (0, 1), (PIECE - 1, PIECE + 1), (len(DATA) - 1, len(DATA)), (7, 300_000)],
)
def test_any_range_is_put_together(live_hub: LiveHub, repo: str, start: int, stop: int):
    cas = Cas(live_hub, repo)
    answer = cas.reconstruct(digest_of(live_hub, repo), range=f"bytes={start}-{stop - 1}")
    assert answer.status_code == 200
    assert read(live_hub, answer.json())[: stop - start] == DATA[start:stop]


def test_older_clients_get_the_same_terms(live_hub: LiveHub, repo: str):
    cas, digest = Cas(live_hub, repo), digest_of(live_hub, repo)
    old, new = cas.reconstruct(digest, "v1").json(), cas.reconstruct(digest).json()
    assert old["terms"] == new["terms"]
    for name, [fetch] in old["fetch_info"].items():
        [part] = new["xorbs"][name][0]["ranges"]
        assert (fetch["range"], fetch["url_range"]) == (part["chunks"], part["bytes"])


def test_a_range_beyond_the_end_is_refused(live_hub: LiveHub, repo: str):
    answer = Cas(live_hub, repo).reconstruct(
        digest_of(live_hub, repo), range=f"bytes={len(DATA)}-{len(DATA)}"
    )
    assert answer.status_code == 416


def test_a_token_reads_its_repo_and_nothing_else(live_hub: LiveHub, repo: str):
    bob = live_hub.api(live_hub.bob)
    bob.create_repo("bob/secret", private=True)
    bob.create_commit("bob/secret", [add("s.bin", b"bob's")], commit_message="s")
    [entry] = bob.get_paths_info("bob/secret", ["s.bin"])
    refused = live_hub.http().get("/api/models/bob/secret/xet-read-token/main")
    assert refused.headers["x-error-code"] == "RepoNotFound"
    cas = Cas(live_hub, repo)
    assert cas.reconstruct(entry.xet_hash or "").status_code == 404
    assert cas.reconstruct("0" * 64).status_code == 404
    assert (
        read(
            live_hub, Cas(live_hub, "bob/secret", "hf_bob").reconstruct(entry.xet_hash or "").json()
        )
        == b"bob's"
    )


def test_anybody_reads_a_public_repo(live_hub: LiveHub, repo: str):
    cas = Cas(live_hub, repo, token=None)
    answer = cas.reconstruct(digest_of(live_hub, repo, "tiny.bin"))
    assert read(live_hub, answer.json()) == b"x"


def test_what_is_forged_or_old_is_refused(live_hub: LiveHub, repo: str):
    cas, digest = Cas(live_hub, repo), digest_of(live_hub, repo)
    url = cas.reconstruct(digest).json()["xorbs"].popitem()[1][0]["url"]
    base, _, index = url.rpartition("/")
    client = live_hub.http(None)
    assert client.get(f"{base}/{index}").status_code == 200
    assert client.get(f"{base}x/{index}").status_code == 403
    assert client.get(f"{base}/3").status_code == 404
    assert client.get(f"{base}/-1").status_code == 404
    assert client.get(f"{base}/one").status_code == 422
    assert client.get(url, headers={"range": "bytes=99999999-"}).status_code == 416
    assert client.get(f"{cas.url}/v2/reconstructions/{digest}").status_code == 401
    # The token of an upload, and that of the account, open nothing here.
    for token in (live_hub.alice, upload_token(live_hub, repo)):
        denied = live_hub.http(token).get(f"{cas.url}/v2/reconstructions/{digest}")
        assert denied.status_code == 401
    assert cas.reconstruct("not-hex").status_code == 400


def upload_token(live_hub: LiveHub, repo: str) -> str:
    answer = live_hub.http().get(f"/api/models/{repo}/xet-write-token/main")
    return answer.json()["accessToken"]


def test_an_expired_url_is_forbidden_so_that_clients_ask_again(
    live_hub: LiveHub, repo: str, monkeypatch: pytest.MonkeyPatch
):
    timers = live_hub.hub.settings.timers.model_copy(update={"presign_s": -1.0})
    settings = live_hub.hub.settings.model_copy(update={"timers": timers})
    answer = Cas(live_hub, repo).reconstruct(digest_of(live_hub, repo))
    monkeypatch.setattr(live_hub.hub, "settings", settings)
    old = Cas(live_hub, repo).reconstruct(digest_of(live_hub, repo))
    [fetch] = old.json()["xorbs"].popitem()[1]
    assert live_hub.http(None).get(fetch["url"]).status_code == 403
    [fetch] = answer.json()["xorbs"].popitem()[1]
    assert live_hub.http(None).get(fetch["url"]).status_code == 200


def test_an_api_of_another_repo_type_reads_too(live_hub: LiveHub):
    api: HfApi = live_hub.api()
    api.create_repo("alice/data", repo_type="dataset")
    api.create_commit(
        "alice/data", [add("d.bin", b"rows")], commit_message="d", repo_type="dataset"
    )
    path = api.hf_hub_download("alice/data", "d.bin", repo_type="dataset", cache_dir=live_hub.cache)
    with open(path, "rb") as file:
        assert file.read() == b"rows"
