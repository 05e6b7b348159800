"""`clade jobs`: what it tells, does and shows on a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.clock import SystemClock
from tests.fixtures.command import Clade, objects_of
from tests.fixtures.models import ModelHub, base_weights
from tests.fixtures.server import Server


def test_jobs_are_done_with_nothing_but_facts_on_stdout(clade: Clade, pushed: Path) -> None:
    assert clade("jobs", "--data", pushed, "--json").facts["queued"] > 0

    waited = clade("jobs", "--wait", "--data", pushed, "--json")

    assert (waited.facts["queued"], waited.facts["running"], waited.facts["failed"]) == (0, 0, 0)
    assert waited.facts["done"] > 0
    assert clade("jobs", "--wait", "--watch", "--data", pushed).status == 0


def test_given_up_jobs_are_named(
    clade: Clade, models: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.hub.clock = SystemClock()
    models.push("ann/toy", base_weights())
    for path in objects_of(models.hub.settings.data):
        path.unlink()
    monkeypatch.setenv("CLADE_JOBS__MAX_ATTEMPTS", "1")

    done = clade("jobs", "--wait", "--data", models.hub.settings.data, "--json")

    assert done.status == 1
    assert done.facts["failed"] == len(done.facts["errors"]) > 0


def test_watch_shows_a_bar_on_a_live_server(server: Server) -> None:
    master, terminal = pty.openpty()
    watch = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "clade"), "jobs", "--watch", "--json"),
            *("--data", str(server.data)),
        ],
        env=server.client_env | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    seen = read_until(master, "jobs: ")
    client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"})
    with client:
        client.post("/api/repos/create", json={"name": "toy"}).raise_for_status()
        line = {"key": "file", "value": {"path": "a.txt", "content": "YQ=="}}
        head = {"key": "header", "value": {"summary": "a"}}
        body = "\n".join(map(json.dumps, (head, line)))
        client.post("/api/models/clade/toy/commit/main", content=body).raise_for_status()
    seen += read_until(master, r"[1-9]\d* finished")

    watch.send_signal(signal.SIGINT)
    out, _ = watch.communicate(timeout=60)
    os.close(master)

    assert watch.returncode == 0
    assert json.loads(out)["done"] >= 1
    assert "━" in seen


def read_until(master: int, pattern: str) -> str:
    """What a terminal shows until that is in it."""
    seen = ""
    while not re.search(pattern, seen):
        seen += os.read(master, 4096).decode(errors="replace")
    return seen
