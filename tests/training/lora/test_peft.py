"""PEFT with AdamW as the oracle of training, and PEFT as the reader of what is exported."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from tests.fixtures.tiny_models import prompts_of
from tests.training.lora.problems import NAMES, base, job, trainer
from training.lora.job import LoraJob
from training.lora.peft_files import load_adapter, save_adapter
from training.sched.shape import Layout
from training.schedule import Schedule

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT asks in an old way
STEPS = 30


def long_job(model: PreTrainedModel, name: str, share: float) -> LoraJob:
    """With a share of its rate."""
    one = job(model, name)
    one.schedule = Schedule(share * one.schedule.lr, STEPS, one.schedule.kind, warmup_steps=3)
    return one


def peft_model(model: PreTrainedModel, one: LoraJob) -> PeftModel:
    """PEFT's layers with the values that the job begins with."""
    options = one.adapter.options
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=options.lora_alpha,
        use_rslora=options.rslora,
        target_modules=options.target_modules
        if isinstance(options.target_modules, str)
        else list(options.target_modules),
    )
    peft = get_peft_model(model, config, autocast_adapter_dtype=False)
    trained = {n: p for n, p in peft.named_parameters() if p.requires_grad}
    ours = {
        name.replace(".weight", ".default.weight"): tensor for name, tensor in one.adapter.tensors()
    }
    assert trained.keys() == ours.keys()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(ours[name])
    return peft.train()


def train_with_peft(peft: PeftModel, one: LoraJob) -> None:
    """Sequence by sequence, with torch's plain AdamW, its clipping and our schedule."""
    parameters = [p for p in peft.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(parameters, weight_decay=one.options.weight_decay)
    for step in range(STEPS):
        batch = one.order.batch(step)
        count = sum(len(sample.places) for sample in batch)
        for sample in batch:
            logits = peft(input_ids=sample.tokens[None]).logits[0, sample.places]
            (cross_entropy(logits, sample.targets, reduction="sum") / count).backward()
        if one.options.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, one.options.max_grad_norm)
        adamw.param_groups[0]["lr"] = one.schedule.rate(step)
        adamw.step()
        adamw.zero_grad()


@pytest.mark.parametrize(
    ("dtype", "share", "tolerance"),
    [
        (torch.float64, 1.0, 1e-10),
        (torch.float32, 0.1, 1e-5),  # 1e-4 to 2e-3; larger ones blow rounding up, whoever steps
    ],
)
def test_four_fused_jobs_are_four_runs_of_peft(dtype, share: float, tolerance: float) -> None:
    fused = trainer(Layout.PADDED, dtype)
    for name in NAMES:
        fused.join(long_job(fused.base.model, name, share))
    for _ in range(STEPS):
        fused.step()
    for name in NAMES:
        one = long_job(base(dtype), name, share)
        peft = peft_model(base(dtype), one)
        train_with_peft(peft, one)
        theirs = dict(peft.named_parameters())
        for key, ours in fused.jobs[name].adapter.tensors():
            other = theirs[key.replace(".weight", ".default.weight")]
            assert float((ours - other).detach().abs().max()) <= tolerance, key


@pytest.mark.parametrize("name", NAMES)
def test_exported_adapter_says_the_same_in_peft(name: str, tmp_path: Path) -> None:
    fused = trainer(Layout.PADDED, torch.float32)
    fused.join(job(fused.base.model, name, 0.1))
    for _ in range(4):
        fused.step()
    one = fused.jobs[name]
    save_adapter(one.adapter, tmp_path, "alice/base", "c" * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = PeftModel.from_pretrained(base(torch.float32), tmp_path).eval()
    assert peft.peft_config["default"].base_model_name_or_path == "alice/base"
    tokens = torch.tensor(prompts_of([20]))
    with torch.no_grad():
        ours = fused.logits(one.adapter, tokens)
        theirs = peft(input_ids=tokens).logits
        plain = base(torch.float32)(input_ids=tokens).logits
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)

    again = job(fused.base.model, name)
    load_adapter(again.adapter, tmp_path)
    for (key, mine), (_, kept) in zip(again.adapter.tensors(), one.adapter.tensors(), strict=True):
        assert torch.equal(mine, kept), key


def test_weights_of_another_adapter_are_refused(tmp_path: Path) -> None:
    model = base()
    save_adapter(job(model, "a").adapter, tmp_path, "base", None)
    other = job(model, "c")
    before = [parameter.clone() for parameter in other.adapter.parameters]
    with pytest.raises(ValueError, match="lora_A"):
        load_adapter(other.adapter, tmp_path)
    for kept, parameter in zip(before, other.adapter.parameters, strict=True):
        assert torch.equal(kept, parameter)
