"""A base in bf16, its twin and fine-tunes in fp32, one with more rows: stored once, read by all."""

import hashlib
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.fixtures.models import Weights, as_bf16, base_weights, card, tuned, weight_file
from tests.fixtures.server import Server

pytestmark = pytest.mark.long

NAME = "model.safetensors"
EMBEDDING = "embed_tokens.weight"
SHAPES = {EMBEDDING: (12_000, 96), "layers.0.up.weight": (2048, 512), "norm.weight": (512,)}


def folder_of(path: Path, weights: Weights, dtype: str, base: str | None) -> Path:
    path.mkdir()
    (path / NAME).write_bytes(weight_file(weights, dtype))
    (path / "README.md").write_bytes(card(base))
    return path


def family(root: Path) -> dict[str, Path]:
    base = as_bf16(base_weights(shapes=SHAPES))
    longer = as_bf16(tuned(base, 2, 1e-4))
    rows = np.random.default_rng(3).normal(0, 0.02, (64, 96)).astype("f4")
    longer[EMBEDDING] = np.concatenate([longer[EMBEDDING], as_bf16({"": rows})[""]])
    return {
        "base": folder_of(root / "base", base, "BF16", None),
        "twin": folder_of(root / "twin", base, "F32", "clade/base"),
        "tune": folder_of(root / "tune", tuned(base, 1, 2e-5), "F32", "clade/base"),
        "longer": folder_of(root / "longer", longer, "F32", "clade/base"),
    }


def test_precisions_of_one_family_are_stored_together_and_come_back(
    server: Server, tmp_path: Path
) -> None:
    folders = family(tmp_path)
    sizes = {name: (folder / NAME).stat().st_size for name, folder in folders.items()}
    grown, stored = {}, 0
    for name, folder in folders.items():
        server.run("hf", "upload", f"clade/{name}", str(folder))
        server.clade("jobs", "--wait")
        server.clade("gc", "--now")
        stats = json.loads(server.clade("stats", "--json").stdout)
        grown[name], stored = stats["stored_bytes"] - stored, stats["stored_bytes"]
    assert grown["base"] < 0.69 * sizes["base"]
    assert grown["twin"] < 0.01 * sizes["twin"]
    assert grown["tune"] < 0.53 * sizes["tune"]
    assert grown["longer"] < 0.12 * sizes["longer"]

    for name, folder in folders.items():
        data = (folder / NAME).read_bytes()
        url = f"{server.url}/clade/{name}/resolve/main/{NAME}"
        for start, stop in ((0, 9), (len(data) // 2 - 3, len(data) // 2 + 70_001), (-5, None)):
            part = data[start:stop]
            first = start % len(data)
            headers = {"Range": f"bytes={first}-{first + len(part) - 1}"}
            answer = httpx.get(
                url,
                headers=headers | {"Authorization": f"Bearer {server.token}"},
                follow_redirects=True,
            )
            assert (answer.status_code, answer.content) == (206, part)
        pulled = tmp_path / f"{name}-pulled"
        target = ("--to", str(pulled), "--endpoint", server.url)
        server.run("clade", "pull", f"clade/{name}", *target)
        digest = hashlib.sha256((pulled / NAME).read_bytes()).digest()
        assert digest == hashlib.sha256(data).digest()
    assert server.clade("fsck", "--deep").returncode == 0
