"""How well ZenFlow learns: each method at its own best rate, over several seeds, on a small task.

A small Llama is trained on one Markov chain and then tuned to another that is half the first. Equal
for all methods: the start, the batches, the steps, the rates that are tried. Rates are chosen on
some seeds and judged on others. It is a toy: gradients of large pre-trained models are more skewed,
and selection may matter more or less there.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Self

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from bench.report import print_table
from bench.train import llama
from training.optim import ZenFlow, ZenFlowOptions

SYMBOLS = 64
BATCH, LENGTH = 8, 48
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
WINDOW = 4
HELD_OUT, HELD_OUT_SEEDS = 50, 5
"""Seeds that no rate is chosen on."""
TIE = 1e-3
"""Losses that differ by less, as a share, are a tie."""
MUST = 1.01
"""Of AdamW's loss, at most."""

Make = Callable[[PreTrainedModel, float], ZenFlow]


def zenflow(**options: object) -> Make:
    """The optimizer of one contender."""
    chosen = ZenFlowOptions(**{"select_interval": 16, **options})  # type: ignore[arg-type]
    return lambda model, lr: ZenFlow(model.parameters(), lr=lr, weight_decay=0.0, options=chosen)


ADAMW = zenflow(topk_ratio=1.0, update_interval=1, select_interval=1, overlap_step=False)
"""Bit for bit; tests/training/optim holds it to torch's."""


def _zenflow(ratio: float, **options: object) -> tuple[Make, int]:
    return zenflow(topk_ratio=ratio, **({"update_interval": WINDOW} | options)), 1


CONTENDERS: Mapping[str, tuple[Make, int]] = {
    "AdamW": (ADAMW, 1),
    f"accumulate {WINDOW}, no selection": (ADAMW, WINDOW),
    f"ZenFlow S={WINDOW} k=.05": _zenflow(0.05),
    f"ZenFlow S={WINDOW} k=.1": _zenflow(0.1),
    f"ZenFlow S={WINDOW} k=.3": _zenflow(0.3),
    "ZenFlow S=auto k=.1": _zenflow(0.1, update_interval="auto"),
    f"ZenFlow S={WINDOW} k=.1, deferred rate √S": _zenflow(0.1, deferred_lr_scale="sqrt"),
    f"ZenFlow S={WINDOW} k=0": _zenflow(0.0),
    "k=.1, rest frozen": _zenflow(0.1, deferred_lr_scale=1e-12),
}
"""What makes the optimizer, and the batches whose mean gradient is one step."""


@cache
def chain(seed: int) -> torch.Tensor:
    """Transition probabilities ``[SYMBOLS, SYMBOLS]``."""
    chance = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(SYMBOLS, SYMBOLS, generator=chance)).softmax(1)


def walks(chances: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """``[count, LENGTH]``, symbols as token ids."""
    chance = torch.Generator().manual_seed(seed)
    at = torch.randint(SYMBOLS, (count,), generator=chance)
    steps = [at]
    for _ in range(LENGTH - 1):
        at = torch.multinomial(chances[at], 1, generator=chance)[:, 0]
        steps.append(at)
    return torch.stack(steps, 1) + 3


def loss_of(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=tokens, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


@dataclass(frozen=True, slots=True)
class Task:
    """What all contenders of a seed begin with and learn."""

    seed: int
    base: PreTrainedModel
    goal: torch.Tensor

    @classmethod
    def of(cls, seed: int, steps: int) -> Self:
        start, goal = chain(2 * seed), (chain(2 * seed) + chain(2 * seed + 1)) / 2
        torch.manual_seed(seed)
        base = llama(64, 2)
        first = ADAMW(base, 2e-3)
        for step in range(steps):
            loss_of(base, walks(start, BATCH, 10**6 * (seed + 1) + step)).backward()
            first.step()
            first.zero_grad()
        first.close()
        return cls(seed, base, goal)


def tuned(task: Task, name: str, lr: float, steps: int) -> float:
    """Validation loss after ``steps`` batches, nats a token."""
    model = copy.deepcopy(task.base)
    make, every = CONTENDERS[name]
    optimizer = make(model, lr)
    for step in range(steps):
        (loss_of(model, walks(task.goal, BATCH, 1000 * task.seed + step)) / every).backward()
        if (step + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.flush()
    optimizer.close()
    with torch.no_grad():
        return float(loss_of(model, walks(task.goal, 256, 999 + task.seed)))


def convergence(seeds: int, steps: int) -> None:
    """The table: losses by rate, and with the best rate on seeds that it was not chosen on."""
    tried = [Task.of(seed, steps) for seed in range(seeds)]
    found = {
        (name, lr): _mean([tuned(task, name, lr, steps) for task in tried])
        for name, lr in product(CONTENDERS, RATES)
    }
    best = {name: min(RATES, key=lambda lr: found[name, lr]) for name in CONTENDERS}
    held_out = [Task.of(seed, steps) for seed in range(HELD_OUT, HELD_OUT + HELD_OUT_SEEDS)]
    losses = {
        name: [tuned(task, name, lr, steps) for task in held_out] for name, lr in best.items()
    }
    plain, rows = losses["AdamW"], []
    for name, own in losses.items():
        pairs = list(zip(own, plain, strict=True))
        won = sum(ours < theirs * (1 - TIE) for ours, theirs in pairs)
        lost = sum(ours > theirs * (1 + TIE) for ours, theirs in pairs)
        share = _mean(own) / _mean(plain)
        told = [
            *(["best rate at the edge"] if best[name] in (RATES[0], RATES[-1]) else []),
            *([f"loses (must {MUST})"] if share > MUST else []),
        ]
        rows.append(
            [
                name,
                *(f"{found[name, rate]:.3f}" for rate in RATES),
                f"{best[name]:g}",
                f"{_mean(own):.3f}",
                f"{share:.4f}",
                f"{won}/{len(pairs) - won - lost}/{lost}",
                ", ".join(told),
            ]
        )
    print_table(
        f"validation loss after {steps} batches: mean of {seeds} seeds by rate, then of "
        f"{HELD_OUT_SEEDS} others at the best of them",
        ["", *map("{:g}".format, RATES), "best rate", "loss", "/ AdamW", "won/tied/lost", ""],
        rows,
        "a tie is less than .1 % apart",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
