"""git-lfs with a file of many gigabytes, both ways (`make test-clients`, not `make test`)."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.fixtures.git import Git
from tests.fixtures.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(3_600)]

NBYTES = int(float(os.environ.get("LARGE_GIT_GB", "5")) * 1e9)
PIECE = 1 << 24
MOST_RSS_NBYTES = 700 << 20
"""Of the server, encoding included; it does not grow with the file."""


def write_by_chance(path: Path, nbytes: int) -> str:
    """Bytes that nothing compresses; their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, nbytes, PIECE):
            piece = os.urandom(min(PIECE, nbytes - start))
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_nbytes(server: Server) -> int:
    """Peak resident set of the server (Linux)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_large_file_goes_up_and_comes_back(server: Server, tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 6 * NBYTES:
        pytest.skip("too little room on the disk")
    git = Git(tmp_path / "git-home", server.url, server.token, user="clade")
    server.run("hf", "repos", "create", "large")
    source = git.clone("clade/large", tmp_path / "source")
    digest = write_by_chance(source / "weights.bin", NBYTES)
    git(source, "lfs", "track", "*.bin", timeout_s=60)
    head = git.commit(source)

    told = git(source, "push", "origin", "main", timeout_s=1_800).stderr
    assert "lock" not in told.lower()
    shutil.rmtree(source)

    copy = git.clone("clade/large", tmp_path / "copy", timeout_s=1_800)
    assert git(copy, "rev-parse", "HEAD").stdout.strip() == head
    assert sha256_of(copy / "weights.bin") == digest
    print(f"server RSS at most {peak_nbytes(server) >> 20} MiB")  # noqa: T201  worth knowing
    assert peak_nbytes(server) < MOST_RSS_NBYTES
