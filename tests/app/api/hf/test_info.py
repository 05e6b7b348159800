"""What the stock client learns about repositories."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_ids_resolve_in_any_case(live_hub: LiveHub, live_repo: str):
    assert live_hub.api().model_info("ALICE/Model").id == live_repo
    live_hub.api().create_commit("Alice/MODEL", [add("a", b"a")], commit_message="a")
    assert "a" in paths(live_hub)


def test_one_segment_ids_are_not_found(live_hub: LiveHub):
    for path in ("/api/models/foo", "/api/models/foo/tree/main", "/foo/resolve/main/x"):
        answer = live_hub.http().get(path)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_listing_searches_sorts_and_pages(live_hub: LiveHub):
    api = live_hub.api()
    for name in ("alice/one-x", "alice/two", "acme/three-X"):
        api.create_repo(name)
    api.create_repo("alice/x-data", repo_type="dataset")
    assert {model.id for model in api.list_models(search="x")} == {"alice/one-x", "acme/three-X"}
    assert {model.id for model in api.list_models(author="Alice")} == {"alice/one-x", "alice/two"}
    created = [model.id for model in api.list_models(sort="created_at")]
    assert created == ["acme/three-X", "alice/two", "alice/one-x"]
    assert [data.id for data in api.list_datasets()] == ["alice/x-data"]
    answer = live_hub.http().get("/api/models?limit=2&sort=createdAt")
    follow = live_hub.http().get(answer.links["next"]["url"])
    assert [each["id"] for each in answer.json() + follow.json()] == created
    assert "next" not in follow.links


def test_info_describes_card_configuration_and_storage(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    card = (
        b"---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        b"tags:\n- tiny\nbase_model: alice/base\nbase_model_relation: finetune\n---\n# Hello\n"
    )
    api.create_commit(
        live_repo,
        [
            add("README.md", card),
            add("config.json", b'{"model_type": "bert", "architectures": ["BertModel"]}'),
        ],
        commit_message="card",
    )
    info = api.model_info(live_repo, files_metadata=True)
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert info.pipeline_tag == "text-generation"
    assert info.config == {"architectures": ["BertModel"], "model_type": "bert"}
    assert info.tags is not None
    assert {"tiny", "bert", "base_model:finetune:alice/base", "license:mit"} <= set(info.tags)
    assert (info.private, info.gated, info.disabled, info.author) == (False, False, False, "alice")
    assert info.siblings is not None
    sizes = {each.rfilename: each.size for each in info.siblings}
    assert sizes["README.md"] == len(card)
    assert info.used_storage == sum(size or 0 for size in sizes.values())
    expanded = api.model_info(live_repo, expand=["downloads", "usedStorage"])
    assert (expanded.downloads, expanded.sha) == (0, None)


def test_weights_go_up_and_come_down_with_their_parameters_counted(
    live_hub: LiveHub, live_repo: str, tmp_path
):
    tensors = {
        "w": np.arange(6000, dtype=np.float32).reshape(60, 100),
        "b": np.ones(60, dtype=np.float16),
    }
    weights = save(tensors, metadata={"format": "pt"})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    api = live_hub.api()
    api.upload_folder(repo_id=live_repo, folder_path=folder)
    info = api.model_info(live_repo, files_metadata=True)
    assert info.safetensors is not None
    assert info.safetensors.parameters == {"F16": 60, "F32": 6000}
    assert info.safetensors.total == 6060
    assert info.siblings is not None
    [sibling] = [each for each in info.siblings if each.rfilename == "model.safetensors"]
    assert sibling.lfs is not None
    assert sibling.lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert "safetensors" in (info.tags or [])
    local = api.snapshot_download(live_repo, cache_dir=live_hub.cache)
    assert (Path(local) / "model.safetensors").read_bytes() == weights
