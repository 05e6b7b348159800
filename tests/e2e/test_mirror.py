"""A mirror between real clients and a real upstream: fetched once, and afterwards offline."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_clients import TINY_MODEL
from tests.fixtures.git import Git
from tests.fixtures.mirrors import eventually
from tests.fixtures.server import Server, embedded_server

BIG_NBYTES = 40_000_000


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """An upstream and a mirror of it."""
    (tmp_path / "up").mkdir()
    (tmp_path / "mirror").mkdir()
    with embedded_server(tmp_path / "up") as upstream:
        settings = {
            "CLADE_UPSTREAM": upstream.url,
            "CLADE_MIRROR__TOKEN": upstream.token,
            "CLADE_MIRROR__NEGATIVE_S": "0",
            "CLADE_MIRROR__PART_NBYTES": str(4 << 20),
        }
        with embedded_server(tmp_path / "mirror", **settings) as mirror:
            yield upstream, mirror


def curl(server: Server, target: Path, *options: str) -> list[str]:
    """The command that downloads the big file."""
    login = f"Authorization: Bearer {server.token}"
    url = f"{server.url}/clade/big/resolve/main/big.bin"
    return ["curl", "-sf", "-H", login, *options, "-o", str(target), url]


def same_files(one: Path, other: Path) -> bool:
    names = [path.relative_to(one) for path in one.glob("*") if path.is_file()]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_clients_get_a_model_through_the_mirror_and_then_without_the_upstream(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    upstream, mirror = pair
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


def test_kills_on_both_sides_in_mid_file_cost_one_part(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    upstream, mirror = pair
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "big.bin").write_bytes(os.urandom(BIG_NBYTES))
    upstream.run("hf", "upload", "clade/big", str(folder))
    target = tmp_path / "got"
    client = subprocess.Popen(curl(mirror, target, "--limit-rate", "8M"))
    eventually(lambda: target.exists() and target.stat().st_size > 5_000_000)

    mirror.kill()
    client.wait()
    upstream.kill()
    assert target.stat().st_size < BIG_NBYTES
    upstream.start()
    mirror.start()

    subprocess.run(curl(mirror, target, "--retry", "9", "-C", "-"), check=True, timeout=120)
    assert target.read_bytes() == (folder / "big.bin").read_bytes()
    mirror.clade("jobs", "--wait")
    assert mirror.clade("fsck", "--deep").returncode == 0
    upstream.kill()
    answer = httpx.get(
        f"{mirror.url}/api/models/clade/other",
        headers={"authorization": f"Bearer {mirror.token}"},
        timeout=60,
    )
    assert (answer.status_code, answer.headers["x-error-code"]) == (503, "UpstreamDown")
