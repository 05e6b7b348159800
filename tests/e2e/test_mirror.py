"""A mirror between real clients and a real upstream: fetched once, and afterwards offline."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bench.line import line_to
from bench.mirror import sent_nbytes
from tests.e2e.test_clients import TINY_MODEL
from tests.fixtures.git import Git
from tests.fixtures.mirrors import eventually
from tests.fixtures.server import Server, embedded_server, production_stack

pytestmark = pytest.mark.long

BIG_NBYTES = 40_000_000
PART_NBYTES = 4 << 20


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Server]:
    """The hub that is mirrored."""
    (tmp_path / "up").mkdir()
    with embedded_server(tmp_path / "up") as running:
        yield running


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where the mirror writes."""
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


@pytest.fixture(params=["embedded", pytest.param("production", marks=pytest.mark.attacks)])
def mirror(request: pytest.FixtureRequest, upstream: Server, base: Path) -> Iterator[Server]:
    """A mirror of it in each mode; in production, of ``make attacks``, Celery workers fetch too."""
    settings = mirroring(upstream.url, upstream)
    if request.param == "embedded":
        with embedded_server(base, **settings) as running:
            yield running
        return
    production = request.getfixturevalue("production_settings")
    broker = request.getfixturevalue("empty_redis")
    with production_stack(base, production, broker, **settings) as running:
        yield running


def mirroring(url: str, upstream: Server) -> dict[str, str]:
    """Settings of a mirror that goes by this URL."""
    return {
        "CLADE_UPSTREAM": url,
        "CLADE_MIRROR__TOKEN": upstream.token,
        "CLADE_MIRROR__NEGATIVE_S": "0",
        "CLADE_MIRROR__PART_NBYTES": str(PART_NBYTES),
    }


def curl(server: Server, target: Path, *options: str) -> list[str]:
    """The command that downloads the big file."""
    login = f"Authorization: Bearer {server.token}"
    url = f"{server.url}/clade/big/resolve/main/big.bin"
    return ["curl", "-sf", "-H", login, *options, "-o", str(target), url]


def same_files(one: Path, other: Path) -> bool:
    names = [path.relative_to(one) for path in one.glob("*") if path.is_file()]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_clients_get_a_model_through_the_mirror_and_then_without_the_upstream(
    upstream: Server, mirror: Server, tmp_path: Path
) -> None:
    upstream.run(
        *(sys.executable, "-c"),
        TINY_MODEL
        + """
tiny().push_to_hub("clade/tiny", max_shard_size="60KB")
tokenizer().push_to_hub("clade/tiny")
""",
    )
    loads = (
        TINY_MODEL
        + """
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("clade/tiny", dtype=torch.bfloat16)
print(all(torch.equal(a, b) for a, b in
          zip(model.state_dict().values(), tiny().state_dict().values())))
AutoTokenizer.from_pretrained("clade/tiny")
print(snapshot_download("clade/tiny").rsplit("/", 1)[1] == HfApi().model_info("clade/tiny").sha)
"""
    )
    assert mirror.run(sys.executable, "-c", loads).stdout.split()[-2:] == ["True", "True"]
    mirror.clade("jobs", "--wait")
    git = Git(tmp_path / "home", mirror.url, mirror.token)
    clone = git.clone("clade/tiny", tmp_path / "clone")
    git(clone, "fsck", "--strict")

    upstream.kill()

    for lane, env in (("xet", {}), ("lfs", {"HF_HUB_DISABLE_XET": "1"})):
        target = tmp_path / lane
        mirror.run("hf", "download", "clade/tiny", "--local-dir", str(target), **env)
        assert same_files(target, clone)
    (clone / "config.json").write_text("mine")
    git.commit(clone)
    refused = git(clone, "push", check=False)
    assert refused.returncode != 0


def test_a_kill_in_mid_fetch_loses_nothing_and_shows_nothing_half(
    upstream: Server, base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "big.bin").write_bytes(os.urandom(BIG_NBYTES))
    upstream.run("hf", "upload", "clade/big", str(folder))
    target = tmp_path / "got"
    port = int(upstream.url.rpartition(":")[2])
    with (
        line_to(port, 2_000_000) as slow,
        embedded_server(base, **mirroring(slow, upstream)) as mirror,
    ):
        client = subprocess.Popen(curl(mirror, target))
        eventually(lambda: fetched(mirror) > 2 * PART_NBYTES)
        mirror.kill()
        assert client.wait() != 0
        upstream.kill()
        present = fetched(mirror)
        assert 2 * PART_NBYTES < present < BIG_NBYTES
        upstream.start()
        mirror.start()

        login = {"authorization": f"Bearer {mirror.token}"}
        page = f"{mirror.url}/clade/big/resolve/main/big.bin"
        head = httpx.head(page, headers=login, timeout=60)
        assert (head.status_code, "x-xet-hash" in head.headers) == (200, False)
        assert mirror.clade("fsck", "--deep").returncode == 0
        subprocess.run(curl(mirror, target, "--retry", "9", "-C", "-"), check=True, timeout=120)

        assert target.read_bytes() == (folder / "big.bin").read_bytes()
        assert sent_nbytes(upstream.url) <= BIG_NBYTES - present
        mirror.clade("jobs", "--wait")
        assert fetched(mirror) == 0
        assert mirror.clade("fsck", "--deep").returncode == 0
        assert "x-xet-hash" in httpx.head(page, headers=login, timeout=60).headers
        upstream.kill()
        other = f"{mirror.url}/api/models/clade/other"
        answer = httpx.get(other, headers=login, timeout=60)
        assert (answer.status_code, answer.headers["x-error-code"]) == (503, "UpstreamDown")


def fetched(mirror: Server) -> int:
    """Bytes of awaited files that a mirror on SQLite has so far."""
    with closing(sqlite3.connect(mirror.data / "hub.sqlite")) as database:
        (nbytes,) = database.execute("select coalesce(sum(nbytes), 0) from awaited_part").fetchone()
    return nbytes
