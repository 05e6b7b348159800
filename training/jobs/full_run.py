"""A full fine-tune from its first step to its last: every weight, by ZenFlow or AdamW."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from training.data.dataset import Dataset
from training.data.order import Order, in_batches
from training.jobs.limits import spare_nbytes
from training.jobs.lora_run import Report
from training.jobs.stopping import Interrupted, IsStopping
from training.jobs.track import Track
from training.lora.batch import Entry, lay_out
from training.lora.footprint import is_out_of_memory
from training.lora.job import PATIENCE, Stepped
from training.lora.losses import Losses
from training.optim import ZenFlow, ZenFlowOptions
from training.sched.shape import Layout

PLAIN = ZenFlowOptions(topk_ratio=1.0, update_interval=1, select_interval=1, overlap_step=False)
"""With these ZenFlow is AdamW, bit for bit."""


LATE = 1
"""Steps that a device is given ahead of what is read of it, so that it never waits for that."""


@dataclass(frozen=True, slots=True)
class _Unread:
    """A step that the device was given. ``told``: its loss and norm, on the host after ``there``.

    A device that finds them not finite leaves all weights as they are, without being asked.
    """

    number: int
    told: torch.Tensor
    there: Any
    rate: float
    tokens: int

    def read(self) -> Stepped:
        """Waits for the device."""
        if self.there is not None:
            self.there.synchronize()
        loss, norm = self.told.tolist()
        skipped = None
        if not math.isfinite(loss):
            norm, skipped = math.nan, f"the loss is {loss}"
        elif not math.isfinite(norm):
            skipped = f"the norm of the gradients is {norm}"
        return Stepped(self.number, loss, norm, self.rate, self.tokens, skipped)


class FullRun:
    """Trains the model itself, in place. Raises OtherRun, TooLittleMemory.

    Losses are read a step late, but before weights are saved or evaluated. A training loss that is
    reason to stop therefore is so after the step after, unless weights were looked at before it;
    where a run was interrupted makes no difference.

    ``memory_gb``: refused below what weights, gradients and, on a CPU, the optimizer take; what
    batches take comes on top.
    """

    def __init__(
        self,
        layout: Layout,
        model: PreTrainedModel,
        track: Track,
        memory_gb: float | None = None,
    ) -> None:
        spare_nbytes(memory_gb, "the model with its gradients and AdamW's state", _needed(model))
        self.model = model.eval().requires_grad_()
        self._track = track
        self._losses = Losses(model, layout)
        self._order = Order(track.data.samples, track.spec.batch_size, track.spec.seed)
        self._schedule = track.spec.schedule(track.per_epoch)
        self._unread: deque[_Unread] = deque()
        state = track.resume()
        self._judge()
        if state is not None:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(state[f"model.{name}"])
        how = track.spec.optimizer
        self.optimizer = ZenFlow(
            model.parameters(),
            lr=how.lr,
            betas=how.betas,
            eps=how.eps,
            weight_decay=how.weight_decay,
            max_grad_norm=how.max_grad_norm,
            options=how.zenflow_options if how.kind == "zenflow" else PLAIN,
        )
        if state is not None:
            own = {
                name.removeprefix("optimizer."): tensor
                for name, tensor in state.items()
                if name.startswith("optimizer.")
            }
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": own, "param_groups": groups})

    def run(self, report: Report, is_stopping: IsStopping) -> None:
        """To its end. Raises Interrupted, with all saved; NoRoom."""
        track = self._track
        while not self._is_over:
            if is_stopping():
                self._read(0, report)
                track.save(self._state())
                raise Interrupted
            number = track.num_steps + len(self._unread)
            try:
                self._unread.append(self._step(number))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                track.failed = "a batch does not fit into memory; lower batch_size"
                break
            self._read(0 if track.is_looked_at(number + 1) else LATE, report)
        self._read(0, report)
        self.optimizer.flush()
        self.optimizer.close()

    @property
    def _is_over(self) -> bool:
        track = self._track
        done = track.num_steps + len(self._unread)
        if track.failed is None and track.stopped_at == done and not track.is_looked_at(done):
            return False
        return track.is_over

    def _read(self, left: int, report: Report) -> None:
        """Note what the device told of all steps but so many."""
        track = self._track
        while len(self._unread) > left:
            track.took(self._unread.popleft().read(), self._evaluate)
            self._judge()
            if track.failed is not None:
                self._unread.clear()
            if track.stopped is not None:
                left = 0  # the result is what was stepped
            if not self._unread and track.is_checkpoint_due:
                track.save(self._state())
            report(track)

    def _judge(self) -> None:
        """Whether the last steps that were read are reason to end it."""
        if self._track.num_wasted >= PATIENCE:
            last = self._track.curve.steps[-1]["skipped"]
            self._track.failed = f"{PATIENCE} steps in a row could not be used: {last}"

    def _step(self, number: int) -> _Unread:
        """Give the device a step."""
        rate = self._schedule.rate(number)
        samples = self._order.batch(number)
        entries = [Entry("full", place, sample) for place, sample in enumerate(samples)]
        targets = {"full": sum(len(sample.places) for sample in samples)}
        batch = lay_out(entries, self._losses.layout, self.model.device)
        loss = self._losses.of(batch, targets)["full"]
        loss.backward()
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.model.parameters() if p.grad is not None]
        )
        told = torch.stack([loss.detach().double(), norm.double()])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step(found_inf=1 - told.isfinite().all().float())
        self.optimizer.zero_grad()
        there = None
        if told.is_cuda:
            told = told.to("cpu", non_blocking=True)
            there = torch.cuda.current_stream().record_event()
        return _Unread(number, told, there, rate, sum(map(len, samples)))

    @torch.no_grad()
    def _evaluate(self, data: Dataset) -> float:
        total = 0.0
        for part in in_batches(data.samples, self._track.spec.batch_size):
            entries = [Entry("full", place, sample) for place, sample in enumerate(part)]
            batch = lay_out(entries, self._losses.layout, self.model.device)
            total += float(self._losses.of(batch, {"full": 1})["full"])
        return total / data.facts.targets

    def _state(self) -> dict[str, torch.Tensor]:
        """Weights and the optimizer's state, by flat names."""
        weights = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        own: dict[str, torch.Tensor] = self.optimizer.state_dict()["state"]
        return weights | {f"optimizer.{name}": tensor for name, tensor in own.items()}


def _needed(model: PreTrainedModel) -> int:
    """Bytes of weights and gradients, and where they are on the host, of masters and moments."""
    numbers = sum(parameter.numel() for parameter in model.parameters())
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return 2 * weights + (12 * numbers if model.device.type == "cpu" else 0)
