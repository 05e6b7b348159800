"""AdamW state over the rows of a matrix, and rows that change hands between two such states.

A weight ``[out, in]`` is held transposed, a row per column of the weight: ZenFlow's unit is the
column (input channel), and a row is contiguous.
"""

from dataclasses import dataclass

import torch
from torch.optim.adamw import adamw


@dataclass(frozen=True, slots=True)
class Rates:
    """AdamW's hyperparameters for one update (Loshchilov and Hutter, arXiv 1711.05101)."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float


class AdamwRows:
    """Master values and moments ``[rows, width]`` of one owner, with one count of updates."""

    def __init__(self, values: torch.Tensor, count: float = 0) -> None:
        self.values = values
        self.mean = torch.zeros_like(values)
        self.square = torch.zeros_like(values)
        self.count = torch.tensor(float(count))

    def update(self, grads: torch.Tensor, rates: Rates) -> None:
        """One step over all rows, by torch's fused kernel. ``grads [rows, width]``, same dtype."""
        if not self.values.numel():
            return
        count = self.count.to(self.values.device)
        adamw(
            [self.values],
            [grads],
            [self.mean],
            [self.square],
            [],
            [count],
            fused=True,
            amsgrad=False,
            beta1=rates.betas[0],
            beta2=rates.betas[1],
            lr=rates.lr,
            weight_decay=rates.weight_decay,
            eps=rates.eps,
            maximize=False,
        )
        self.count = count.cpu()

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that make it up, by name; not copies."""
        return {name: getattr(self, name) for name in ("values", "mean", "square", "count")}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what :meth:`state` gave, on the device where the values are."""
        for name, tensor in state.items():
            device = "cpu" if name == "count" else self.values.device
            setattr(self, name, tensor.to(device, copy=True))


def hand_over(
    source: AdamwRows,
    source_rows: torch.Tensor,
    target: AdamwRows,
    target_rows: torch.Tensor,
    betas: tuple[float, float],
) -> None:
    """Move rows, so that the target goes on where the source stopped.

    The two have made different numbers of updates, and AdamW divides moments by ``1 - beta^count``:
    moments are scaled so that these *corrected* moments, which are what a step uses, are the same
    after as before. A target that has made no update takes the source's count.
    """
    if not float(target.count):
        target.count = source.count.clone()
    device = target.values.device
    target.values[target_rows] = source.values[source_rows].to(device)
    for name, beta in zip(("mean", "square"), betas, strict=True):
        moved = getattr(source, name)[source_rows].to(device)
        getattr(target, name)[target_rows] = moved * _rescale(beta, source.count, target.count)


def _rescale(beta: float, source: torch.Tensor, target: torch.Tensor) -> float:
    if not float(source) or float(source) == float(target):
        return 1.0
    return (1 - beta ** float(target)) / (1 - beta ** float(source))
