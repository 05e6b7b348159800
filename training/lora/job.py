"""A LoRA job: adapter, data, optimizer and schedule, and how far it has come."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from training.data.order import Order
from training.data.sample import Sample
from training.lora.adapter import Adapter
from training.lora.batch import Entry
from training.sched.shape import SequenceShape
from training.schedule import Schedule

PATIENCE = 3
"""Steps in a row without a usable gradient after which a job has failed."""


@dataclass(frozen=True, slots=True)
class AdamwOptions:
    """AdamW's hyperparameters; ``max_grad_norm`` over all of a job's gradients, None: no limit."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step did to a job.

    ``loss``: mean over the step's targets, in nats. ``grad_norm``: before clipping. ``skipped``:
    why weights were left as they are, None: they were not.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens: int
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot go on; its adapter is as after its last good step."""

    reason: str


class LoraJob:
    """Owns everything that is not shared, so that co-tenants can come and go."""

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        samples: Sequence[Sample],
        schedule: Schedule,
        *,
        batch_size: int = 8,
        adamw: AdamwOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.adapter = adapter
        self.schedule = schedule
        self.seed = seed
        self.options = adamw or AdamwOptions()
        self.order = Order(samples, batch_size, seed)
        self.num_steps = 0
        """Steps taken, skipped ones included; also the number of the next batch."""
        self.num_wasted = 0
        """Steps in a row that were skipped."""
        self._shaped: tuple[int, list[SequenceShape]] | None = None
        self._optimizer = torch.optim.AdamW(
            adapter.parameters,
            betas=self.options.betas,
            eps=self.options.eps,
            weight_decay=self.options.weight_decay,
            fused=True,
        )

    @property
    def is_done(self) -> bool:
        """Whether all its steps are taken."""
        return self.num_steps >= self.schedule.total_steps

    @property
    def static_nbytes(self) -> int:
        """Weights, gradients and both moments."""
        return sum(4 * side.nbytes for side in self.adapter.parameters)

    def entries(self) -> list[Entry]:
        """The sequences of its next step."""
        batch = self.order.batch(self.num_steps)
        return [Entry(self.name, number, sample) for number, sample in enumerate(batch)]

    def shapes(self) -> list[SequenceShape]:
        """The same, as a scheduler sees them, who asks many times for a step."""
        if self._shaped is None or self._shaped[0] != self.num_steps:
            per_token = self.adapter.per_token_nbytes
            shapes = [entry.sample.shape(per_token) for entry in self.entries()]
            self._shaped = self.num_steps, shapes
        return self._shaped[1]

    def take(self, loss: float, grads: Sequence[torch.Tensor] | None, tokens: int) -> Stepped:
        """Step with these gradients, one for each parameter; not finite ones only count."""
        number, rate = self.num_steps, self.schedule.rate(self.num_steps)
        self.num_steps += 1
        norm, skipped = math.nan, None
        if grads is None or not math.isfinite(loss):
            skipped = f"the loss is {loss}"
        else:
            for parameter, grad in zip(self.adapter.parameters, grads, strict=True):
                parameter.grad = grad
            norm = float(self._clip())
            if math.isfinite(norm):
                self._step(rate)
            else:
                skipped = f"the norm of the gradients is {norm}"
            self._optimizer.zero_grad(set_to_none=True)
        self.num_wasted = 0 if skipped is None else self.num_wasted + 1
        return Stepped(number, loss, norm, rate, tokens, skipped)

    def state(self) -> dict[str, torch.Tensor]:
        """All that it goes on from, by flat names fit for safetensors; not copies."""
        state = {f"adapter.{name}": tensor.detach() for name, tensor in self.adapter.tensors()}
        for name, parameter in self.adapter.tensors():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                state[f"adamw.{key}.{name}"] = value
        state["counters"] = torch.tensor([self.num_steps, self.num_wasted])
        return state

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from :meth:`state`. Raises ValueError, changing nothing, for another adapter's."""
        prefix = "adapter."
        self.adapter.load(
            {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        )
        for name, parameter in self.adapter.tensors():
            kept = {
                key: state[f"adamw.{key}.{name}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adamw.{key}.{name}" in state
            }
            if kept:
                self._optimizer.state[parameter] = kept
        self.num_steps, self.num_wasted = state["counters"].tolist()

    def _clip(self) -> torch.Tensor:
        limit = self.options.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(
            self.adapter.parameters, math.inf if limit is None else limit
        )

    def _step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
