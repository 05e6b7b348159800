"""ZenFlow as one can read it: no thread, no overlap, one fixed choice of columns.

What a window's gradients make of the host's columns is computed at once and shown to the model one
window later.
"""

import torch
from torch.optim.adamw import adamw

from tests.training.optim.problems import BETAS, DECAY, EPS, LR


class Adam:
    """AdamW of one tensor by torch's own function."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values.clone()
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.count = torch.tensor(0.0)

    def update(self, grads: torch.Tensor) -> None:
        adamw(
            *([self.values], [grads], [self.mean], [self.square], [], [self.count]),
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=LR,
            weight_decay=DECAY,
            eps=EPS,
            maximize=False,
        )


class Serial:
    """One window late, by hand. Columns are chosen by the first step's gradients, for good."""

    def __init__(self, model: torch.nn.Module, *, interval: int, ratio: float) -> None:
        self.model, self.interval, self.ratio = model, interval, ratio
        self.step_number = 0
        self.wholes = {p: Adam(p.detach()) for p in model.parameters() if p.ndim == 1}
        self.matrices = [p for p in model.parameters() if p.ndim == 2]
        self.host: dict[torch.Tensor, Adam] = {}
        self.sums: dict[torch.Tensor, torch.Tensor] = {}
        self.late: dict[torch.Tensor, torch.Tensor] = {}
        self.chosen: dict[torch.Tensor, torch.Tensor] = {}
        self.device: dict[torch.Tensor, Adam] = {}

    @torch.no_grad()
    def step(self) -> None:
        for parameter, adam in self.wholes.items():
            adam.update(parameter.grad)
            parameter.copy_(adam.values)
        for parameter in self.matrices:
            grads = parameter.grad.t().contiguous()
            if self.step_number == 0:
                count = int(self.ratio * parameter.shape[1])
                self.chosen[parameter] = grads.abs().sum(1).topk(count).indices.sort().values
                start = parameter.detach().t()[self.chosen[parameter]].contiguous()
                self.device[parameter] = Adam(start)
                self.host[parameter] = Adam(parameter.detach().t()[self._rest(parameter)])
                self.sums[parameter] = torch.zeros_like(self.host[parameter].values)
            chosen = self.chosen[parameter]
            self.device[parameter].update(grads[chosen])
            parameter.t()[chosen] = self.device[parameter].values
            self.sums[parameter] += grads[self._rest(parameter)]
        self.step_number += 1
        if self.step_number % self.interval == 0:
            for parameter in self.matrices:
                rest = self._rest(parameter)
                if parameter in self.late:
                    parameter.t()[rest] = self.late[parameter]
                self.host[parameter].update(self.sums[parameter] / self.interval)
                self.late[parameter] = self.host[parameter].values.clone()
                self.sums[parameter].zero_()

    def _rest(self, parameter: torch.Tensor) -> list[int]:
        chosen = set(self.chosen[parameter].tolist())
        return [column for column in range(parameter.shape[1]) if column not in chosen]
