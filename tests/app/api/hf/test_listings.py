"""Listing models and datasets with the stock client: by tag, size and name, and what is shown."""

import json
from typing import get_args

import numpy as np
import pytest
from huggingface_hub import HfApi, hf_api
from huggingface_hub.errors import HfHubHTTPError
from safetensors.numpy import save

from app.api.hf.fields import EXPANDABLE, LISTED, SHOWN
from app.api.hf.repo_view import FIELDS
from app.jobs.runner import drain
from app.tasks import HANDLERS
from tests.fixtures.api import LiveHub, add

CARD = (
    b"---\nlicense: mit\nlanguage:\n- en\n- no\npipeline_tag: text-generation\n"
    b"datasets:\n- acme/corpus\ntags:\n- tiny\nbase_model: alice/base\n"
    b"base_model_relation: finetune\nwidget:\n- text: Hello\n"
    b"model-index:\n- name: m\n  results: []\n---\n# Hello\n"
)
CONFIG = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'
DATA_CARD = (
    b"---\nlicense: mit\nlanguage: en\ntask_categories:\n- text-generation\n"
    b"size_categories:\n- 1K<n<10K\npaperswithcode_id: x\n---\n"
)


@pytest.fixture
def api(live_hub: LiveHub) -> HfApi:
    """Alice's client; alice/llama has card, configuration and weights, alice/bare has nothing."""
    api = live_hub.api()
    api.create_repo("alice/llama")
    weights = save({"w": np.zeros((300, 100), np.float32), "b": np.zeros(100, np.float16)})
    api.create_commit(
        "alice/llama",
        [add("README.md", CARD), add("config.json", CONFIG), add("model.safetensors", weights)],
        commit_message="card",
    )
    api.create_repo("alice/bare")
    drain(live_hub.hub, HANDLERS)
    return api


def found(api: HfApi, **query) -> set[str]:
    return {model.id for model in api.list_models(**query)}


def test_models_are_found_by_every_tag_that_they_show(api: HfApi):
    shown = api.model_info("alice/llama").tags
    assert shown is not None
    assert {
        *("license:mit", "en", "no", "text-generation", "transformers", "tiny", "llama"),
        *("safetensors", "dataset:acme/corpus", "base_model:alice/base"),
        "base_model:finetune:alice/base",
    } == set(shown)
    for tag in shown:
        assert found(api, filter=tag) == {"alice/llama"}, tag
    assert found(api, filter="mit") == set()


def test_filters_add_up(live_hub: LiveHub, api: HfApi):
    assert found(api, filter=["tiny", "license:mit"], pipeline_tag="text-generation") == {
        "alice/llama"
    }
    assert found(api, filter=["tiny", "gguf"]) == set()
    assert found(api, trained_dataset="acme/corpus") == {"alice/llama"}
    assert found(api, num_parameters="min:30K,max:31K") == {"alice/llama"}
    assert found(api, num_parameters="min:6B") == set()
    assert found(api, apps="vllm") == {"alice/llama"}
    assert found(api, apps="ollama") == set()
    assert found(api, inference_provider="all") == set()
    assert found(api, search="LLA", author="Alice", filter="tiny") == {"alice/llama"}
    assert found(live_hub.api(None), search="bare") == {"alice/bare"}


def test_tags_follow_the_card(live_hub: LiveHub, api: HfApi):
    card = add("README.md", b"---\nlicense: apache-2.0\n---\n")
    api.create_commit("alice/llama", [card], commit_message="card")
    [listed] = api.list_models(search="llama", cardData=True)
    assert listed.tags is not None
    assert "license:apache-2.0" in listed.tags
    assert listed.card_data is not None
    assert listed.card_data.license == "apache-2.0"
    drain(live_hub.hub, HANDLERS)
    assert found(api, filter="license:mit") == set()
    assert found(api, filter="license:apache-2.0") == {"alice/llama"}


def test_tags_in_use_are_listed_by_what_they_are_about(live_hub: LiveHub, api: HfApi):
    tags = api.get_model_tags()
    assert tags["license"] == [{"type": "license", "label": "mit", "id": "license:mit"}]
    assert [each["id"] for each in tags["language"]] == ["en", "no"]
    assert [each["label"] for each in tags["library"]] == ["safetensors", "transformers"]
    for each in (each for some in tags.values() for each in some):
        assert found(api, filter=each["id"]) == {"alice/llama"}
    one = live_hub.http(None).get("/api/models-tags-by-type?type=dataset").json()
    assert one == {"dataset": tags["dataset"]}
    assert not any(api.get_dataset_tags().values())
    refused = live_hub.http(None).get("/api/datasets-tags-by-type?type=pipeline_tag")
    assert refused.status_code == 400
    assert "task_categories" in refused.headers["X-Error-Message"]


def test_listed_models_show_what_was_asked_for(api: HfApi):
    [plain] = api.list_models(search="llama")
    assert (plain.pipeline_tag, plain.library_name) == ("text-generation", "transformers")
    assert (plain.card_data, plain.config, plain.siblings) == (None, None, None)
    [full] = api.list_models(search="llama", full=True, cardData=True, fetch_config=True)
    assert full.config == {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    assert full.card_data is not None
    assert full.card_data.language == ["en", "no"]
    assert full.siblings is not None
    assert "model.safetensors" in {each.rfilename for each in full.siblings}
    [few] = api.list_models(search="llama", expand=["author", "safetensors", "usedStorage"])
    assert (few.author, few.downloads) == ("alice", None)
    assert few.safetensors is not None
    assert few.safetensors.parameters == {"F16": 100, "F32": 30_000}
    assert few.used_storage == api.model_info("alice/llama").used_storage


@pytest.mark.parametrize("indexed", [True, False])
def test_every_field_can_be_expanded(live_hub: LiveHub, api: HfApi, indexed: bool):
    if not indexed:
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="alice/llama")
    fields = list(get_args(hf_api.ExpandModelProperty_T))
    info = api.model_info("alice/llama", expand=fields)
    assert info.base_models == {
        "relation": "finetune",
        "models": [{"id": "alice/base"}],
        "measured": False,
    }
    assert info.children_model_count == 0
    assert info.widget_data == [{"text": "Hello"}]
    assert info.model_index == [{"name": "m", "results": []}]
    assert info.transformers_info is not None
    assert info.transformers_info.auto_model == "AutoModelForCausalLM"
    assert (info.likes, info.gated, info.disabled, info.spaces) == (0, False, False, [])
    assert info.safetensors is not None
    assert info.safetensors.total == 30_100
    assert (info.mask_token, info.gguf, info.resource_group) == (None, None, None)


def test_the_mask_token_is_that_of_the_tokenizer(api: HfApi):
    tokenizer = json.dumps({"mask_token": {"content": "[MASK]"}}).encode()
    files = [
        add("README.md", b"---\npipeline_tag: fill-mask\n---\n"),
        add("tokenizer_config.json", tokenizer),
    ]
    api.create_commit("alice/bare", files, commit_message="bert")
    assert api.model_info("alice/bare").mask_token == "[MASK]"


@pytest.mark.parametrize("call", ["model_info", "list_models", "dataset_info", "list_datasets"])
def test_unknown_fields_are_refused_with_those_there_are(api: HfApi, call: str):
    names = [] if call.startswith("list") else ["alice/llama"]
    with pytest.raises(HfHubHTTPError) as refused:
        list(getattr(api, call)(*names, expand=["foo"]))
    assert refused.value.response.status_code == 400
    assert 'expected one of "author"|"' in refused.value.response.json()["error"]


def test_fields_are_those_of_the_client():
    for repo_type, known in {
        "model": hf_api.ExpandModelProperty_T,
        "dataset": hf_api.ExpandDatasetProperty_T,
        "space": hf_api.ExpandSpaceProperty_T,
    }.items():
        assert EXPANDABLE[repo_type] - {"xetEnabled"} == set(get_args(known))
        assert EXPANDABLE[repo_type] <= FIELDS.keys()
        assert {*LISTED[repo_type], *SHOWN[repo_type]} <= EXPANDABLE[repo_type] | {"gated"}


def test_datasets_are_found_by_what_their_cards_say(live_hub: LiveHub, api: HfApi):
    api.create_repo("alice/corpus", repo_type="dataset")
    files = [add("README.md", DATA_CARD), add("train.jsonl", b"{}\n")]
    api.create_commit("alice/corpus", files, commit_message="card", repo_type="dataset")
    drain(live_hub.hub, HANDLERS)
    for query in (
        {"language": "en"},
        {"task_categories": "text-generation", "size_categories": "1K<n<10K"},
        {"filter": "license:mit", "dataset_name": "corp", "search": "us"},
        {"filter": "format:json"},
    ):
        assert [data.id for data in api.list_datasets(**query)] == ["alice/corpus"], query
    assert list(api.list_datasets(language="fr")) == []
    info = api.dataset_info("alice/corpus", expand=["mainSize", "paperswithcode_id", "tags"])
    assert info.main_size is not None
    assert info.main_size > len(DATA_CARD)
    assert info.paperswithcode_id == "x"


def test_measured_parents_and_children_are_shown(live_hub: LiveHub, api: HfApi):
    rng = np.random.default_rng(1)
    base = {name: rng.normal(size=(400, 128)).astype(np.float32) for name in ("a", "b")}
    tuned = {name: tensor + np.float32(1e-4) for name, tensor in base.items()}
    for name, tensors in (("alice/base", base), ("alice/tuned", tuned)):
        api.create_repo(name)
        api.upload_file(
            path_or_fileobj=save(tensors), path_in_repo="model.safetensors", repo_id=name
        )
    drain(live_hub.hub, HANDLERS)
    info = {
        name: api.model_info(name, expand=["baseModels", "childrenModelCount"])
        for name in ("alice/base", "alice/tuned")
    }
    parents = [name for name, each in info.items() if each.children_model_count == 1]
    assert len(parents) == 1
    [child] = info.keys() - set(parents)
    assert info[child].base_models["measured"] is True
    assert [each["id"] for each in info[child].base_models["models"]] == parents


def test_odd_queries_are_refused(live_hub: LiveHub):
    http = live_hub.http()
    for query in (
        *("num_parameters=lots", "num_parameters=min:", "apps=nope", "gated=maybe"),
        "&".join(f"filter=t{number}" for number in range(40)),
        *("cursor=WzEsIDJd", "sort=downloads&cursor=WyJ4IiwgMV0="),
        "sort=downloads&cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LCAxXQ==",
    ):
        assert http.get(f"/api/models?{query}").status_code in {400, 422}, query


def test_long_and_odd_texts_find_nothing(live_hub: LiveHub, api: HfApi):
    http = live_hub.http()
    assert http.get("/api/models?num_parameters=min:999999999999T").json() == []
    for search in ("x" * 2_000, "%", "_", "é", "'; --", "\u0130"):
        assert http.get("/api/models", params={"search": search}).json() == []
    for tag in ("x" * 2_000, "é", "%"):
        assert http.get("/api/models", params={"filter": tag}).json() == []
