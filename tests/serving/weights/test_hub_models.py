"""Models out of a real hub: streamed, verified, cached by digest, switched in place."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from app.settings import Settings
from client.errors import ClientError, Refused
from client.hub import HubClient
from client.local import LocalContents
from serving.weights.checkpoint import Checkpoint
from serving.weights.fetch import AHEAD, Fetcher
from serving.weights.header import BadCheckpoint
from serving.weights.hub_models import HubModels
from serving.weights.live import NotRelated
from tests.fixtures.engines import answers_of, engine_of
from tests.fixtures.model_repos import ModelRepos, family_base, fine_tune, serving_models
from tests.fixtures.tiny_models import dense_state, prompts_of, tiny_model

LENGTHS = (5, 12, 3)


@pytest.fixture(scope="module")
def family() -> dict[str, PreTrainedModel]:
    """A base, a fine-tune, one of a layer, a MoE and its relative."""
    base, moe = family_base(), family_base("mixtral")
    return {
        "alice/base": base,
        "alice/tuned": fine_tune(base, 1),
        "alice/partly": fine_tune(base, 2, only=lambda name: ".2." in name),
        "alice/moe": moe,
        "alice/moe-tuned": fine_tune(moe, 3, only=lambda name: "gate_up" in name),
        "alice/other": tiny_model(vocab_size=259),
    }


@pytest.fixture(scope="module")
def served(
    family: dict[str, PreTrainedModel],
    migrated_sqlite: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ModelRepos, str]]:
    data = tmp_path_factory.mktemp("hub")
    (data / "hub.sqlite").write_bytes(migrated_sqlite)
    with serving_models(Settings(data=data), family) as (repos, url):
        yield repos, url


@pytest.fixture
def hub(served: tuple[ModelRepos, str], tmp_path: Path) -> Iterator[HubModels]:
    with HubModels(served[1], token=None, cache=tmp_path) as models:
        yield models


def load(hub: HubModels, repo: str):
    return hub.load(repo, "main", dtype=None, device="cpu")


def same(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    ours, theirs = dense_state(model), dense_state(other)
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("repo", ["alice/base", "alice/tuned", "alice/moe-tuned"])
def test_loaded_models_are_bit_for_bit_those_pushed_and_answer_alike(
    family: dict[str, PreTrainedModel], hub: HubModels, repo: str
) -> None:
    model, around, _, moved = load(hub, repo)

    assert same(model, family[repo])
    assert around.ends == (2,)
    assert moved.tensor_nbytes == sum(each.numel() * 2 for each in family[repo].parameters())
    prompts = prompts_of(LENGTHS)
    expected = answers_of(engine_of(copy.deepcopy(family[repo])), prompts)
    assert answers_of(engine_of(model), prompts) == expected


def test_a_second_member_pulls_its_deltas_alone(
    family: dict[str, PreTrainedModel], hub: HubModels
) -> None:
    *_, first = load(hub, "alice/base")
    *_, again = load(hub, "alice/base")
    model, *_, second = load(hub, "alice/tuned")

    assert same(model, family["alice/tuned"])
    assert again.wire_nbytes < 0.15 * first.wire_nbytes, "plans, headers, nothing else"
    assert second.wire_nbytes < 0.6 * first.wire_nbytes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alice/base", "alice/partly"),
        ("alice/tuned", "alice/base"),
        ("alice/moe", "alice/moe-tuned"),
    ],
)
def test_a_switch_moves_what_differs(
    family: dict[str, PreTrainedModel], hub: HubModels, old: str, new: str
) -> None:
    model, _, live, first = load(hub, old)
    engine = engine_of(model)
    prompts = prompts_of(LENGTHS)
    before = answers_of(engine, prompts)

    relative = hub.stage(live, new, "main")
    assert same(model, family[old]), "staging changes nothing"
    live.apply(relative.staged)
    engine.become([2], None)

    assert same(model, family[new])
    after = answers_of(engine_of(copy.deepcopy(family[new])), prompts)
    assert answers_of(engine, prompts) == after != before
    if new == "alice/partly":
        layer = sum(each.numel() * 2 for each in model.model.layers[2].parameters())
        assert relative.moved.tensor_nbytes == layer
        assert relative.moved.wire_nbytes < 0.3 * first.wire_nbytes
    back = hub.stage(live, old, "main")
    live.apply(back.staged)
    assert same(model, family[old])
    assert hub.stage(live, old, "main").staged.num_tensors == 0


def test_two_groups_at_most_wait_to_be_placed(
    served: tuple[ModelRepos, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Sequence[str]] = []
    fetch_one = Fetcher._fetch

    def fetch(self, checkpoint, names, allocate):
        begun.append(names)
        return fetch_one(self, checkpoint, names, allocate)

    monkeypatch.setattr(Fetcher, "_fetch", fetch)
    with (
        HubClient(served[1]) as client,
        LocalContents(tmp_path) as local,
        Fetcher(local) as fetcher,
    ):
        checkpoint = Checkpoint(client, "alice/base")
        groups = [[name] for name in checkpoint.shard_of]
        for taken, tensors in enumerate(fetcher.groups(checkpoint, groups), start=1):
            assert list(tensors) == groups[taken - 1]
            assert len(begun) <= taken + AHEAD
    assert taken == len(groups)


def test_a_switch_to_a_stranger_is_refused(
    family: dict[str, PreTrainedModel], hub: HubModels
) -> None:
    model, _, live, _ = load(hub, "alice/base")
    with pytest.raises(NotRelated, match="hidden_size"):
        hub.stage(live, "alice/other", "main")
    assert same(model, family["alice/base"])


def test_rotten_cache_is_noticed(
    family: dict[str, PreTrainedModel], hub: HubModels, tmp_path: Path
) -> None:
    load(hub, "alice/base")
    kept = [path for path in (tmp_path / "contents").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    model, *_ = load(hub, "alice/tuned")

    assert same(model, family["alice/tuned"])


def test_what_is_no_model_is_refused(
    served: tuple[ModelRepos, str], hub: HubModels, tmp_path: Path
) -> None:
    with pytest.raises(Refused):
        load(hub, "alice/nothing")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "config.json").write_text("{}")
    served[0].push_folder("alice/empty", tmp_path / "repo")
    with pytest.raises(BadCheckpoint, match="safetensors"):
        load(hub, "alice/empty")


def test_mistrals_own_form_of_the_same_weights_is_passed_over(
    served: tuple[ModelRepos, str], family: dict[str, PreTrainedModel], tmp_path: Path
) -> None:
    both = tmp_path / "both"
    family["alice/other"].save_pretrained(both)
    (both / "consolidated.safetensors").write_bytes((both / "model.safetensors").read_bytes())
    served[0].push_folder("alice/both", both)

    with HubClient(served[1]) as client:
        shards = Checkpoint(client, "alice/both").shards

    assert [shard.source.file.path for shard in shards] == ["model.safetensors"]


def test_a_hub_that_goes_away_is_a_client_error(tmp_path: Path) -> None:
    absent = HubModels("http://127.0.0.1:9", token=None, cache=tmp_path)
    with absent as models, pytest.raises(ClientError):
        load(models, "a/b")
