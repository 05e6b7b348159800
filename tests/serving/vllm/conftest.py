"""A hub with a small family, for vLLM."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.settings import Settings
from tests.fixtures.model_repos import ModelRepos, family_base, fine_tune, serving_models
from tests.fixtures.vllm import environment

HEAD_DIM = 64
"""vLLM's attention on a CPU has none below 32."""


@dataclass
class VllmHub:
    """``local``: the safetensors of ``alice/tuned``."""

    url: str
    repos: ModelRepos
    home: Path
    local: Path
    env: dict[str, str]


@pytest.fixture(scope="session")
def vllm_hub(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmHub]:
    home = tmp_path_factory.mktemp("vllm")
    (home / "data").mkdir()
    (home / "data" / "hub.sqlite").write_bytes(migrated_sqlite)
    base = family_base(head_dim=HEAD_DIM)
    tuned = fine_tune(base, 1)
    tuned.save_pretrained(home / "local")
    family = {"alice/base": base, "alice/tuned": tuned}
    with serving_models(Settings(data=home / "data"), family) as (repos, url):
        yield VllmHub(url, repos, home, home / "local", environment(url, home))
