"""The `hf` command as people type it, for what concerns whole repositories."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.jobs.runner import drain
from app.tasks import HANDLERS
from tests.fixtures.api import LiveHub

Hf = Callable[..., str]


@pytest.fixture
def hf(live_hub: LiveHub, tmp_path: Path) -> Hf:
    """Runs `hf` as alice; what it printed."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "hf"), *arguments],
            env={
                "HOME": str(tmp_path / "home"),
                "HF_ENDPOINT": live_hub.url,
                "HF_TOKEN": live_hub.alice,
                "NO_PROXY": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_whole_repositories_are_managed_by_command(live_hub: LiveHub, hf: Hf):
    assert "alice" in hf("auth", "whoami")
    hf("repos", "create", "mine", "--private")
    hf("repos", "settings", "alice/mine", "--public", "--gated", "manual")
    hf("repos", "move", "alice/mine", "acme/ours")
    hf("repos", "duplicate", "acme/ours", "alice/copy")
    drain(live_hub.hub, HANDLERS)
    [row] = json.loads(hf("repos", "ls", "--namespace", "acme", "--format", "json"))
    assert (row["id"], row["type"], row["visibility"]) == ("acme/ours", "model", "public")
    listed = json.loads(hf("models", "ls", "--gated", "--search", "ou", "--format", "json"))
    assert [each["id"] for each in listed] == ["acme/ours"]
    info = json.loads(hf("models", "info", "alice/mine", "--format", "json"))
    assert (info["id"], info["gated"]) == ("acme/ours", "manual")
    hf("repos", "delete", "alice/copy", "--yes")
    assert not live_hub.api().repo_exists("alice/copy")
