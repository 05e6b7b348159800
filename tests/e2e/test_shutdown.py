"""SIGTERM: what is under way is finished, nothing new is begun, and the next start goes on."""

import hashlib
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.fixtures.server import Server

pytestmark = pytest.mark.long

MIB = 1 << 20


def upload(server: Server, folder: Path, payload: bytes) -> None:
    folder.mkdir()
    (folder / "blob").write_bytes(payload)
    server.run("hf", "upload", "clade/model", str(folder), HF_HUB_DISABLE_XET="1")


def test_a_download_under_way_is_finished(server: Server, tmp_path: Path):
    payload = os.urandom(48 * MIB)  # more than buffers between here and the hub hold
    upload(server, tmp_path / "model", payload)
    url = f"{server.url}/clade/model/resolve/main/blob"
    headers = {"Authorization": f"Bearer {server.token}"}

    with httpx.stream("GET", url, headers=headers, timeout=60, follow_redirects=True) as answer:
        chunks = answer.iter_bytes(MIB)
        digest = hashlib.sha256(next(chunks))
        server.process.send_signal(signal.SIGTERM)
        until_refused(server)
        for chunk in chunks:
            digest.update(chunk)

    assert digest.digest() == hashlib.sha256(payload).digest()
    assert server.process.wait(60) in {0, -signal.SIGTERM}  # uvicorn raises the signal anew


def test_jobs_go_on_after_the_next_start(server: Server, tmp_path: Path):
    upload(server, tmp_path / "model", os.urandom(8 * MIB))
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)

    server.start()

    server.clade("jobs", "--wait")
    assert server.clade("fsck", "--deep").returncode == 0


def until_refused(server: Server) -> None:
    """Until the hub takes no new connections; the request under way keeps it alive."""
    host, port = server.url.removeprefix("http://").split(":")
    for _ in range(10_000):
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionError:  # refused, or reset while it waited to be taken
            return
    pytest.fail("the hub still takes connections after SIGTERM")
