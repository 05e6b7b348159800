"""How well ZenFlow learns: each method at its own best rate, over several seeds, on a small task.

A small Llama is trained on one Markov chain and then tuned to another that is half the first. Equal
for all methods: the start, the batches, the steps, the rates that are tried. It is a toy: gradients
of large pre-trained models are more skewed, and selection may matter more or less there.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from bench.report import print_table
from bench.train import llama
from training.optim import ZenFlow, ZenFlowOptions

SYMBOLS = 64
BATCH, LENGTH = 8, 48
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
WINDOW = 4
TIE = 1e-3
"""Losses that differ by less, as a share, are a tie."""
MUST = 1.01
"""Of AdamW's loss, at most."""

Optimise = Callable[[PreTrainedModel, float, int], None]
"""Takes the step with this number, from 0 on, with the gradients at hand."""


def zenflow(**options: object) -> Callable[[PreTrainedModel, float], ZenFlow]:
    """The optimizer of one contender."""
    chosen = ZenFlowOptions(**{"select_interval": 16, **options})  # type: ignore[arg-type]
    return lambda model, lr: ZenFlow(model.parameters(), lr=lr, weight_decay=0.0, options=chosen)


ADAMW = zenflow(topk_ratio=1.0, update_interval=1, select_interval=1, overlap_step=False)
"""Bit for bit; tests/training/optim holds it to torch's."""
CONTENDERS: Mapping[str, tuple[Callable[[PreTrainedModel, float], ZenFlow], int]] = {
    "AdamW": (ADAMW, 1),
    f"accumulate {WINDOW}, no selection": (ADAMW, WINDOW),
    f"ZenFlow S={WINDOW} k=.1": (zenflow(topk_ratio=0.1, update_interval=WINDOW), 1),
    f"ZenFlow S={WINDOW} k=.1, deferred rate √S": (
        zenflow(topk_ratio=0.1, update_interval=WINDOW, deferred_lr_scale="sqrt"),
        1,
    ),
    f"ZenFlow S={WINDOW} k=0": (zenflow(topk_ratio=0.0, update_interval=WINDOW), 1),
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


def tuned(
    base: PreTrainedModel, name: str, lr: float, chances: torch.Tensor, steps: int, seed: int
) -> float:
    """Validation loss after ``steps`` batches, nats a token."""
    model = copy.deepcopy(base)
    make, every = CONTENDERS[name]
    optimizer = make(model, lr)
    for step in range(steps):
        (loss_of(model, walks(chances, BATCH, 1000 * seed + step)) / every).backward()
        if (step + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.flush()
    optimizer.close()
    with torch.no_grad():
        return float(loss_of(model, walks(chances, 256, 999 + seed)))


def convergence(seeds: int, steps: int) -> None:
    """The table: losses, best rates, and who wins how often."""
    found: dict[tuple[str, float], list[float]] = {}
    for seed in range(seeds):
        start, goal = chain(2 * seed), (chain(2 * seed) + chain(2 * seed + 1)) / 2
        torch.manual_seed(seed)
        base = llama(64, 2)
        first = ADAMW(base, 2e-3)
        for step in range(steps):
            loss_of(base, walks(start, BATCH, 10**6 * (seed + 1) + step)).backward()
            first.step()
            first.zero_grad()
        first.close()
        for name, lr in product(CONTENDERS, RATES):
            found.setdefault((name, lr), []).append(tuned(base, name, lr, goal, steps, seed))
    best = {name: min(RATES, key=lambda lr: _mean(found[name, lr])) for name in CONTENDERS}
    plain = found["AdamW", best["AdamW"]]
    rows = []
    for name, lr in best.items():
        own = found[name, lr]
        wins = sum(ours < theirs * (1 - TIE) for ours, theirs in zip(own, plain, strict=True))
        losses = sum(ours > theirs * (1 + TIE) for ours, theirs in zip(own, plain, strict=True))
        share = _mean(own) / _mean(plain)
        rows.append(
            [
                name,
                *(f"{_mean(found[name, rate]):.3f}" for rate in RATES),
                f"{lr:g}",
                f"{_mean(own):.3f}",
                f"{share:.4f}",
                f"{wins}/{seeds - wins - losses}/{losses}",
                "" if share <= MUST else f"loses (must {MUST})",
            ]
        )
    print_table(
        f"validation loss after {steps} batches, mean of {seeds} seeds, by rate",
        ["", *map(str, RATES), "best rate", "loss", "/ AdamW", "won/tied/lost", ""],
        rows,
        "each method at its own best rate; a tie is less than .1 % apart",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
