"""What is adapted, how it begins, and what is refused before anything is trained."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.training.lora.problems import base, job, trainer
from training.lora.adapter import NoSuchLayer, new_adapter
from training.lora.options import LoraOptions
from training.sched.shape import Layout


@pytest.mark.parametrize("model_type", ["llama", "phi3", "gpt_neox"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_all_linear_is_what_peft_takes_it_for(model_type: str) -> None:
    ours = new_adapter(base(torch.float32, model_type), LoraOptions(r=2), seed=0)
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(base(torch.float32, model_type), config)
    theirs = {name for name, parameter in peft.named_parameters() if parameter.requires_grad}
    assert {n.replace(".weight", ".default.weight") for n, _ in ours.tensors()} == theirs


def test_an_adapter_begins_as_its_seed_says_whoever_is_there() -> None:
    fused = trainer(Layout.PADDED)
    first = job(fused.base.model, "a").adapter
    fused.join(job(fused.base.model, "b"))
    again = job(fused.base.model, "a").adapter
    other = new_adapter(base(), LoraOptions(r=1), seed=99)
    for (name, a), (_, b), (_, c) in zip(
        first.tensors(), again.tensors(), other.tensors(), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == name.endswith("lora_B.weight")
    assert first.num_parameters == sum(p.numel() for p in first.parameters)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (LoraOptions(target_modules=["query"]), "there are .*q_proj"),
        (LoraOptions(target_modules=["lm_head"]), "lm_head"),
        (LoraOptions(r=64), r"at most \d+"),
    ],
)
def test_what_the_model_has_not_is_refused(options: LoraOptions, says: str) -> None:
    with pytest.raises(NoSuchLayer, match=says):
        new_adapter(base(), options, seed=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"r": 0}, "rank from 1"),
        ({"r": 5000}, "rank from 1"),
        ({"alpha": -1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"target_modules": "q_proj"}, "list of names"),
        ({"target_modules": []}, "list of names"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LoraOptions(**wrong)
