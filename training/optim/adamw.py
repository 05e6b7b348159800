"""AdamW state over the rows of a matrix, and rows that change hands between two such states.

A weight ``[out, in]`` is held transposed, a row per column of the weight: ZenFlow's unit is the
column (input channel), and a row is contiguous.
"""

from collections.abc import Iterable
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

    def __init__(self, values: torch.Tensor, count: int = 0) -> None:
        self.values = values
        self.mean = torch.zeros_like(values)
        self.square = torch.zeros_like(values)
        self.count = count

    def like(self, num_rows: int) -> "AdamwRows":
        """Room for so many rows, with as many updates made."""
        return AdamwRows(self.values.new_empty(num_rows, self.values.shape[1]), self.count)

    @property
    def count(self) -> int:
        """Updates made; waits for the device if it decides which those are."""
        if self._count is None:
            self._count = int(self._counted)
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        self._count: int | None = count
        # The kernel counts where the rows are, so that an update on a device waits for nothing.
        self._counted = torch.tensor(float(count), device=self.values.device)

    @property
    def nbytes(self) -> int:
        """Of values and moments."""
        return self.values.nbytes + self.mean.nbytes + self.square.nbytes

    def update(
        self, grads: torch.Tensor, rates: Rates, found_inf: torch.Tensor | None = None
    ) -> None:
        """One step over all rows, by torch's fused kernel. ``grads [rows, width]``, same dtype."""
        self.update_by([(slice(None), grads.reshape(-1))], rates, found_inf)

    def update_by(
        self,
        parts: Iterable[tuple[slice, torch.Tensor]],
        rates: Rates,
        found_inf: torch.Tensor | None = None,
    ) -> None:
        """One step over all rows, whose gradients come in parts: which numbers of all, and these.

        No number may be in two of them, and none be left out. ``found_inf``, where the rows are:
        unless it is 0, all is left as it is.
        """
        if not self.values.numel():
            return
        rows = [each.view(-1) for each in (self.values, self.mean, self.square)]
        counted = self._counted
        for place, grads in parts:
            counted = self._counted.clone()  # the kernel makes it one more
            values, mean, square = (each[place] for each in rows)
            adamw(
                [values],
                [grads],
                [mean],
                [square],
                [],
                [counted],
                fused=True,
                amsgrad=False,
                beta1=rates.betas[0],
                beta2=rates.betas[1],
                lr=rates.lr,
                weight_decay=rates.weight_decay,
                eps=rates.eps,
                maximize=False,
                found_inf=found_inf,
            )
        self._counted = counted
        self._count = self.count + 1 if found_inf is None else None

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that make it up, by name; not copies."""
        tensors = {name: getattr(self, name) for name in ("values", "mean", "square")}
        return tensors | {"count": torch.tensor(self.count)}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what :meth:`state` gave, on the device where the values are."""
        for name in ("values", "mean", "square"):
            setattr(self, name, state[name].to(self.values.device, copy=True))
        self.count = int(state["count"])


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
    if not len(source_rows):
        return
    device = target.values.device
    target.count = target.count or source.count
    target.values[target_rows] = source.values[source_rows].to(device)
    for name, beta in zip(("mean", "square"), betas, strict=True):
        moved = getattr(source, name)[source_rows].to(device)
        getattr(target, name)[target_rows] = moved * _rescale(beta, source.count, target.count)


def _rescale(beta: float, source: int, target: int) -> float:
    if not source or source == target:
        return 1.0
    return (1 - beta**target) / (1 - beta**source)
