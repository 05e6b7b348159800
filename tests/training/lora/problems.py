"""Tiny bases and jobs that differ in everything a job may differ in."""

from collections.abc import Sequence
from functools import cache

import torch
from transformers import PreTrainedModel

from tests.fixtures.tiny_models import VOCABULARY, tiny_model
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.job import AdamwOptions, LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.sched.shape import Layout
from training.schedule import Schedule

SMALL = {"hidden_size": 16, "intermediate_size": 24, "head_dim": 4}
NAMES = "abcd"
STEPS = 12


def base(dtype: torch.dtype = torch.float64, model_type: str = "llama") -> PreTrainedModel:
    """A few thousand parameters, the same ones every time."""
    return tiny_model(model_type, seed=1, dtype=dtype, **SMALL)


def samples(count: int, longest: int, seed: int) -> list[Sample]:
    """Random tokens, of which some prefix is not learnt."""
    chance = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(4, longest + 1, (), generator=chance))
        prompt = int(torch.randint(1, length - 1, (), generator=chance))
        tokens = torch.randint(3, VOCABULARY, (length,), generator=chance)
        made.append(Sample(tokens, torch.arange(length) >= prompt))
    return made


def job(model: PreTrainedModel, name: str, dropout: float = 0.0, **changed) -> LoraJob:
    """One of four jobs of different rank, rate, batch, length, targets and schedule."""
    n = NAMES.index(name)
    options = LoraOptions(
        r=(1, 2, 4, 3)[n],
        dropout=dropout,
        rslora=n == 2,
        target_modules=("all-linear", ["q_proj", "v_proj"], "all-linear", ["down_proj"])[n],
    )
    settings = {"seed": 10 + n, "batch_size": (1, 2, 3, 2)[n]} | changed
    return LoraJob(
        name,
        new_adapter(model, options, seed=10 + n),
        samples(5 + n, (9, 17, 12, 25)[n], seed=n),
        Schedule((1e-2, 3e-3, 1e-3, 2e-2)[n], STEPS, ("cosine", "linear", "constant", "cosine")[n]),
        adamw=AdamwOptions(weight_decay=0.01 * n, max_grad_norm=(1.0, None, 0.1, 1.0)[n]),
        **settings,
    )


def trainer(layout: Layout, dtype: torch.dtype = torch.float64, **options) -> FusedTrainer:
    return FusedTrainer(base(dtype), layout=layout, **options)


@cache
def solo(name: str, dropout: float = 0.0, layout=Layout.PADDED, dtype=torch.float64) -> LoraJob:
    """The job after all its steps, alone."""
    alone = trainer(layout, dtype)
    alone.join(job(alone.base.model, name, dropout))
    for _ in range(STEPS):
        alone.step()
    return alone.jobs[name]


def furthest(left: LoraJob, right: LoraJob) -> float:
    """Largest difference of any weight."""
    pairs = zip(left.adapter.parameters, right.adapter.parameters, strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def moved(one: LoraJob) -> bool:
    """Whether it learnt anything at all."""
    ups: Sequence[torch.Tensor] = [pair.up for pair in one.adapter.pairs.values()]
    return all(bool(up.any()) for up in ups)
