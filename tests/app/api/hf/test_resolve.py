import hashlib
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from huggingface_hub import hf_hub_download, snapshot_download

from app.catalog.git_objects import blob_oid, lfs_pointer
from app.db.tables import Repo
from app.hub import Hub
from app.restore.pool import shared_pool
from tests.fixtures.contents import ContentFactory, StoredFile
from tests.fixtures.published import Publisher

MIB = 1 << 20
CARD = b"# A model\n"
URL = "/alice/model/resolve/main/model.safetensors"


def weights(nbytes: int, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


@pytest.fixture
def model(publisher: Publisher, contents: ContentFactory) -> StoredFile:
    """alice/model with one plane-coded LFS file and a card."""
    ids = [contents.content(b"header"), contents.content(weights(2 * MIB), "PLANE")]
    file = contents.file(ids)
    publisher.publish("alice/model", {"model.safetensors": file, "README.md": publisher.text(CARD)})
    return file


class TestHeaders:
    def test_lfs_file_is_known_by_its_sha256(self, publisher: Publisher, model: StoredFile) -> None:
        answer = publisher.client().get(URL)

        etag = f'"{hashlib.sha256(model.data).hexdigest()}"'
        assert answer.status_code == 200
        assert answer.content == model.data
        assert answer.headers["etag"] == answer.headers["x-linked-etag"] == etag
        assert answer.headers["x-linked-size"] == str(len(model.data))
        assert answer.headers["content-length"] == str(len(model.data))
        assert answer.headers["accept-ranges"] == "bytes"
        assert len(answer.headers["x-repo-commit"]) == 40
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")

    def test_regular_file_is_known_by_its_git_id(
        self, publisher: Publisher, model: StoredFile
    ) -> None:
        answer = publisher.client().get("/alice/model/resolve/main/README.md")

        assert answer.content == CARD
        assert answer.headers["etag"] == f'"{blob_oid(CARD)}"'
        assert "x-linked-etag" not in answer.headers

    @pytest.mark.parametrize("path", ["model.safetensors", "README.md"])
    def test_head_says_what_get_says_without_the_body(
        self, publisher: Publisher, model: StoredFile, path: str
    ) -> None:
        client = publisher.client()
        url = f"/alice/model/resolve/main/{path}"

        head, get = client.head(url), client.get(url)

        assert head.content == b""
        drop = {"x-request-id", "ratelimit"}
        assert {k: v for k, v in head.headers.items() if k not in drop} == {
            k: v for k, v in get.headers.items() if k not in drop
        }

    def test_scripts_from_a_repository_never_run(self, publisher: Publisher) -> None:
        publisher.publish("alice/page", {"x.html": publisher.text(b"<script>alert(1)</script>")})

        for verb in ("resolve", "raw"):
            answer = publisher.client().get(f"/alice/page/{verb}/main/x.html")
            assert answer.headers["content-type"].startswith("text/plain")
            assert "sandbox" in answer.headers["content-security-policy"]

    def test_known_etag_gets_304_without_a_body(
        self, publisher: Publisher, model: StoredFile
    ) -> None:
        client = publisher.client()
        etag = client.head(URL).headers["etag"]

        answer = client.get(URL, headers={"if-none-match": etag})

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag


class TestRange:
    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=5-9", 5, 10),
            (f"bytes={MIB}-", MIB, None),
            ("bytes=-7", -7, None),
            (f"bytes={2 * MIB}-{9 * MIB}", 2 * MIB, None),
        ],
    )
    def test_range_equals_the_slice(
        self, publisher: Publisher, model: StoredFile, header: str, start: int, stop: int | None
    ) -> None:
        answer = publisher.client().get(URL, headers={"range": header})

        assert answer.status_code == 206
        assert answer.content == model.data[start:stop]
        first = range(len(model.data))[start]
        last = first + len(answer.content) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(model.data)}"

    @pytest.mark.parametrize("header", [f"bytes={9 * MIB}-", "bytes=0-1,4-5"])
    def test_range_that_cannot_be_had_is_416_with_the_size(
        self, publisher: Publisher, model: StoredFile, header: str
    ) -> None:
        answer = publisher.client().get(URL, headers={"range": header})

        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(model.data)}"

    def test_range_of_another_version_gets_the_whole(
        self, publisher: Publisher, model: StoredFile
    ) -> None:
        answer = publisher.client().get(URL, headers={"range": "bytes=0-1", "if-range": '"old"'})

        assert (answer.status_code, len(answer.content)) == (200, len(model.data))

    def test_head_ignores_ranges(self, publisher: Publisher, model: StoredFile) -> None:
        answer = publisher.client().head(URL, headers={"range": "bytes=0-1"})

        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(len(model.data))


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/alice/model/resolve/main/absent", "EntryNotFound"),
            ("/alice/model/resolve/absent/README.md", "RevisionNotFound"),
            ("/alice/absent/resolve/main/README.md", "RepoNotFound"),
        ],
    )
    def test_what_does_not_exist_is_named(
        self, publisher: Publisher, model: StoredFile, path: str, code: str
    ) -> None:
        for method in ("GET", "HEAD"):
            answer = publisher.client("bob").request(method, path)
            assert answer.status_code == 404
            assert answer.headers["x-error-code"] == code
            assert ("x-repo-commit" in answer.headers) == (code == "EntryNotFound")

    def test_private_repo_does_not_exist_for_others(
        self, publisher: Publisher, contents: ContentFactory
    ) -> None:
        publisher.publish("alice/secret", {"a.txt": publisher.text(b"secret")}, private=True)
        url = "/alice/secret/resolve/main/a.txt"

        assert publisher.client("alice").get(url).content == b"secret"
        assert publisher.client("bob").get(url).headers["x-error-code"] == "RepoNotFound"
        assert publisher.client().get(url).status_code == 401

    def test_damage_before_the_first_byte_is_503(
        self, publisher: Publisher, contents: ContentFactory
    ) -> None:
        file = publisher.text(b"precious")
        publisher.publish("alice/model", {"a.txt": file})
        [content] = [id_ for id_, data in contents.bytes_of.items() if data == b"precious"]
        contents.overwrite(contents.key_of(content), b"precioux")

        answer = publisher.client().get("/alice/model/resolve/main/a.txt")

        assert answer.status_code == 503
        assert answer.headers["x-error-code"] == "Damaged"


def test_raw_shows_the_pointer_of_an_lfs_file(publisher: Publisher, model: StoredFile) -> None:
    client = publisher.client()

    answer = client.get("/alice/model/raw/main/model.safetensors")

    pointer = lfs_pointer(hashlib.sha256(model.data).digest(), len(model.data))
    assert answer.content == pointer
    assert answer.headers["etag"] == f'"{blob_oid(pointer)}"'
    assert client.get("/alice/model/raw/main/README.md").content == CARD


def test_datasets_and_quoted_revisions_and_paths_resolve(publisher: Publisher) -> None:
    file = publisher.text(b"rows")
    commit = publisher.publish("alice/rows", {"a b/ü.txt": file}, repo_type="dataset")
    client = publisher.client()

    for revision in ("main", "refs%2Fheads%2Fmain", commit.oid):
        answer = client.get(f"/datasets/alice/rows/resolve/{revision}/a%20b/%C3%BC.txt")
        assert answer.content == b"rows"


def receive_until_cut(url: str) -> tuple[int, bytes]:
    """Status and body of an answer that ends before its Content-Length."""
    got = bytearray()
    # Several reads decide that bytes are damaged, with pauses between them.
    with httpx.Client(timeout=60) as client, client.stream("GET", url) as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            _drain(answer, got)
        return answer.status_code, bytes(got)


def _drain(answer: httpx.Response, got: bytearray) -> None:
    for chunk in answer.iter_raw():
        got += chunk


def test_damage_on_the_way_cuts_the_connection(
    publisher: Publisher, contents: ContentFactory
) -> None:
    ids = [contents.content(weights(8 * MIB, seed)) for seed in range(3)]
    file = contents.file(ids)
    publisher.publish("alice/model", {"model.safetensors": file})
    contents.overwrite(contents.key_of(ids[2]), bytes(8 * MIB))

    with publisher.serving() as base:
        status, got = receive_until_cut(base + URL)

    assert status == 200
    assert len(got) < len(file.data)
    assert file.data.startswith(got)


def test_client_that_goes_away_frees_the_work(
    hub: Hub, publisher: Publisher, contents: ContentFactory
) -> None:
    file = contents.file([contents.content(weights(64 * MIB))])
    publisher.publish("alice/model", {"model.safetensors": file})
    pool = shared_pool(hub.settings.restore_threads)

    with publisher.serving() as base:
        address = urlsplit(base)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"GET {URL} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            assert pool.readers == 1
        for _ in range(1000):
            if (pool.readers, pool.held_nbytes) == (0, 0):
                break
            httpx.get(base + "/healthz")

    assert (pool.readers, pool.held_nbytes) == (0, 0)


def test_downloads_are_counted_once_per_client_and_written_later(
    hub: Hub, publisher: Publisher, model: StoredFile
) -> None:
    client = publisher.client()
    for path in ("README.md", "model.safetensors"):
        url = f"/alice/model/resolve/main/{path}"
        client.get(url, headers={"x-hf-download-counter": "1"})
        client.get(url)
    with hub.db.read() as session:
        assert session.query(Repo.downloads).scalar() == 0

    client.app.state.downloads.flush()  # type: ignore[attr-defined]

    with hub.db.read() as session:
        assert session.query(Repo.downloads).scalar() == 1


def test_stock_client_downloads_files_and_snapshots(
    publisher: Publisher, model: StoredFile, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publisher.serving() as base:
        file = hf_hub_download(
            "alice/model", "model.safetensors", endpoint=base, token=False, cache_dir=tmp_path / "a"
        )
        folder = snapshot_download(
            "alice/model", endpoint=base, token=False, cache_dir=tmp_path / "b"
        )

    assert Path(file).read_bytes() == model.data
    assert (Path(folder) / "model.safetensors").read_bytes() == model.data
    assert (Path(folder) / "README.md").read_bytes() == CARD
