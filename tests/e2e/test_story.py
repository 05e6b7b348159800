"""The story as a user plays it: real `hf`, a real server, nothing set but endpoint and token."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.fixtures.server import Server


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".cache" not in path.parts
    }


def model(folder: Path, *, seed: int, drift: float, base: str | None) -> Path:
    """A small model: bf16 weights as uint16, drifting from seed 0's."""
    folder.mkdir()
    start, change = np.random.default_rng(0), np.random.default_rng(seed)
    tensors = {}
    for layer in range(4):
        weights = start.normal(0, 0.02, (512, 768)).astype(np.float32)
        weights += change.normal(0, 1, weights.shape).astype(np.float32) * drift
        tensors[f"layers.{layer}.weight"] = weights
        tensors[f"layers.{layer}.norm"] = np.ones(768, np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "seed": seed}))
    card = f"---\nbase_model: {base}\n---\n" if base else "---\nlicense: mit\n---\n"
    (folder / "README.md").write_text(card + f"# Toy {seed}\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "notes.txt").write_text("kept\n")
    return folder


@pytest.mark.parametrize("lane", ["xet", "lfs"])
def test_base_and_fine_tune_come_back_byte_for_byte(
    server: Server, tmp_path: Path, lane: str
) -> None:
    env = {"HF_HUB_DISABLE_XET": "1"} if lane == "lfs" else {}
    base = model(tmp_path / "base", seed=0, drift=0, base=None)
    tuned = model(tmp_path / "tuned", seed=1, drift=1e-5, base="clade/base")

    for folder in (base, tuned):
        server.run("hf", "upload", f"clade/{folder.name}", str(folder), **env)
    server.clade("jobs", "--wait")

    for folder in (base, tuned):
        copy = tmp_path / f"{folder.name}-copy"
        server.run("hf", "download", f"clade/{folder.name}", "--local-dir", str(copy), **env)
        assert digests(copy).items() >= digests(folder).items()
        pulled = tmp_path / f"{folder.name}-pulled"
        server.run(
            "clade", "pull", f"clade/{folder.name}", "--to", str(pulled), "--endpoint", server.url
        )
        assert digests(pulled).items() >= digests(folder).items()
    server.clade("gc", "--now")
    assert server.clade("fsck", "--deep").returncode == 0
    stats = json.loads(server.clade("stats", "--json").stdout)
    assert stats["stored_bytes"] < 0.8 * stats["logical_bytes"]


def test_production_stack_stores_and_returns_a_family(
    production_server: Server, tmp_path: Path
) -> None:
    server = production_server
    base = model(tmp_path / "base", seed=0, drift=0, base=None)
    tuned = model(tmp_path / "tuned", seed=1, drift=1e-5, base="clade/base")

    for folder in (base, tuned):
        server.run("hf", "upload", f"clade/{folder.name}", str(folder))
    wait_for_workers(server)

    for folder in (base, tuned):
        copy = tmp_path / f"{folder.name}-copy"
        server.run("hf", "download", f"clade/{folder.name}", "--local-dir", str(copy))
        assert digests(copy).items() >= digests(folder).items()
        pulled = tmp_path / f"{folder.name}-pulled"
        server.run(
            "clade", "pull", f"clade/{folder.name}", "--to", str(pulled), "--endpoint", server.url
        )
        assert digests(pulled).items() >= digests(folder).items()
    server.clade("gc", "--now")
    assert server.clade("fsck", "--deep").returncode == 0
    stats = json.loads(server.clade("stats", "--json").stdout)
    assert stats["stored_bytes"] < 0.8 * stats["logical_bytes"]


def wait_for_workers(server: Server) -> None:
    """Until the Celery workers, and nobody else, have done all there is to do."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        facts = json.loads(server.clade("jobs", "--json").stdout)
        if facts["queued"] == facts["running"] == 0:
            assert facts["done"] > 0
            return
        time.sleep(1)
    raise AssertionError((server.data.parent / "worker.log").read_text())


def test_acknowledged_upload_survives_kill_9(server: Server, tmp_path: Path) -> None:
    base = model(tmp_path / "base", seed=0, drift=0, base=None)
    server.run("hf", "upload", "clade/base", str(base))

    server.kill()
    server.start()

    copy = tmp_path / "copy"
    server.run("hf", "download", "clade/base", "--local-dir", str(copy))
    assert digests(copy).items() >= digests(base).items()
    server.clade("jobs", "--wait")
    assert server.clade("fsck", "--deep").returncode == 0
