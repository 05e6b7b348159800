"""Adapters in one batch give what PEFT gives for each alone."""

import copy
from pathlib import Path

import pytest
import torch

from serving.engine.lora import Adapter, BadAdapter, Pair
from serving.engine.params import BadParams, SamplingParams
from serving.engine.sequence import Request
from serving.weights.adapter import read_adapter
from tests.fixtures.adapters import merged, save_adapter
from tests.fixtures.engines import Scripted, engine_of, run_to_end, tokens_by_request
from tests.fixtures.tiny_models import generated, prompts_of, tiny_model

KINDS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "rslora": {"r": 8, "lora_alpha": 4, "target_modules": "all-linear", "use_rslora": True},
    "patterns": {
        "r": 4,
        "target_modules": ["o_proj", "down_proj"],
        "rank_pattern": {"layers.1.mlp.down_proj": 2},
        "alpha_pattern": {"o_proj": 32},
    },
}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for seed, (name, config) in enumerate(KINDS.items()):
        made[name] = tmp_path_factory.mktemp(name)
        save_adapter(tiny_model(), made[name], seed, **config)
    return made


def test_a_mixed_batch_is_what_peft_gives_for_each(adapters: dict[str, Path]) -> None:
    model = tiny_model()
    engine = engine_of(copy.deepcopy(model), Scripted(chunk=5))
    for name, path in adapters.items():
        engine.runner.adapters.add(name, read_adapter(path, name))
    prompts = prompts_of((7, 12, 4, 9))
    names = [*adapters, None]
    for name in names:
        for number, prompt in enumerate(prompts):
            engine.add(
                Request(
                    request_id=f"{name}{number}",
                    prompt=tuple(prompt),
                    params=SamplingParams(temperature=0, max_tokens=8),
                    arrival_s=0,
                    adapter=name,
                )
            )

    answers = tokens_by_request(run_to_end(engine))

    said = set()
    for name in names:
        alone = model if name is None else merged(model, adapters[name])
        expected = generated(alone, prompts, 8)
        assert [answers[f"{name}{number}"] for number in range(4)] == expected
        said.add(str(expected))
    assert len(said) == 4, "adapters make a difference"


def test_another_adapter_of_the_same_name_finds_no_old_prefixes(adapters: dict[str, Path]) -> None:
    engine = engine_of(tiny_model())
    [prompt] = prompts_of((17,))
    for path in (adapters["plain"], adapters["rslora"]):
        engine.runner.adapters.add("mine", read_adapter(path, "mine"))
        params = SamplingParams(temperature=0, max_tokens=4)
        engine.add(
            Request(
                request_id=path.name,
                prompt=tuple(prompt),
                params=params,
                arrival_s=0,
                adapter="mine",
            )
        )
        run_to_end(engine)
    assert engine.num_found_tokens == 0
    engine.runner.adapters.remove("mine")
    with pytest.raises(BadParams):
        engine.add(Request(request_id="x", prompt=(3,), params=params, arrival_s=0, adapter="mine"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"r": 4, "use_dora": True, "target_modules": ["q_proj"]}, "use_dora"),
        ({"r": 4, "bias": "all", "target_modules": ["q_proj"]}, "biases"),
        ({"r": 4, "modules_to_save": ["norm"], "target_modules": ["q_proj"]}, "modules_to_save"),
    ],
)
def test_what_is_more_than_lora_is_refused(tmp_path: Path, config: dict, message: str) -> None:
    save_adapter(tiny_model(), tmp_path, 0, **config)
    with pytest.raises(BadAdapter, match=message):
        read_adapter(tmp_path, "it")


def test_adapters_that_do_not_fit_are_refused() -> None:
    adapters = engine_of(tiny_model()).runner.adapters
    fits = Pair(torch.zeros(2, 32), torch.zeros(32, 2))
    with pytest.raises(BadAdapter, match="no layer"):
        adapters.add("a", Adapter("a", {"model.layers.9.self_attn.q_proj": fits}))
    with pytest.raises(BadAdapter, match="shapes"):
        adapters.add("a", Adapter("a", {"model.layers.0.self_attn.k_proj": fits}))
    with pytest.raises(BadAdapter, match="blocks"):
        adapters.add("a", Adapter("a", {"lm_head": fits}))
    assert adapters.names == []
    with pytest.raises(BadAdapter, match="PEFT"):
        read_adapter(Path("/nonexistent"), "it")
