"""Headers of safetensors files with the stock client."""

import json

import numpy as np
import pytest
from huggingface_hub import HfApi
from safetensors.numpy import save

from tests.fixtures.api import REPO, LiveHub, add

INDEX = "model.safetensors.index.json"


@pytest.fixture
def api(live_hub: LiveHub, live_repo: str) -> HfApi:
    """Alice's client; alice/model has two shards and their index."""
    api = live_hub.api()
    shards = {
        "model-1.safetensors": {"a": np.zeros((3, 4), np.float32), "e": np.zeros(0, np.float32)},
        "model-2.safetensors": {"b": np.zeros(5, np.float16)},
    }
    index = {
        "metadata": {"total_size": 58},
        "weight_map": {name: shard for shard, tensors in shards.items() for name in tensors},
    }
    files = [add(name, save(tensors, {"format": "pt"})) for name, tensors in shards.items()]
    files.append(add(INDEX, json.dumps(index).encode()))
    api.create_commit(live_repo, files, commit_message="shards")
    return api


def test_one_answer_says_what_every_header_says(live_hub: LiveHub, api: HfApi):
    at_once = api.get_sharded_safetensors_metadata(REPO)
    one_by_one = api.get_safetensors_metadata(REPO)
    assert at_once.files_metadata == one_by_one.files_metadata
    assert at_once.weight_map == one_by_one.weight_map
    assert at_once.metadata == one_by_one.metadata == {"total_size": 58}
    assert at_once.parameter_count == {"F32": 12, "F16": 5}
    url = f"/api/models/{REPO}/safetensors-metadata/model-2.safetensors"
    single = live_hub.http().get(url).json()
    assert single["headers"]["model-2.safetensors"]["b"]["shape"] == [5]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[]", 400),
        (b"{}", 400),
        (b'{"weight_map": {"a": 3}}', 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b'{"weight_map": {"a": "gone.safetensors"}}', 404),
        (b'{"weight_map": {"a": "../model-1.safetensors"}}', 404),
        (b'{"weight_map": {"a": "x.safetensors"}}', 400),
    ],
)
def test_odd_indexes_are_refused(live_hub: LiveHub, api: HfApi, content: bytes, status: int):
    liar = (1 << 62).to_bytes(8, "little") + b"{}"
    files = [add(INDEX, content), add("x.safetensors", liar)]
    api.create_commit(REPO, files, commit_message="odd")
    answer = live_hub.http().get(f"/api/models/{REPO}/safetensors-metadata/{INDEX}")
    assert answer.status_code == status, answer.text
    assert answer.headers["X-Error-Code"]
