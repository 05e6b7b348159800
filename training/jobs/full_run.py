"""A full fine-tune from its first step to its last: every weight, by ZenFlow or AdamW."""

import math

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


class FullRun:
    """Trains the model itself, in place. Raises OtherRun, TooLittleMemory.

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
        self._num_wasted = 0
        state = track.resume()
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
        while not track.is_over:
            if is_stopping():
                track.save(self._state())
                raise Interrupted
            try:
                stepped = self._step(track.num_steps)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                track.failed = "a batch does not fit into memory; lower batch_size"
                break
            track.took(stepped, self._evaluate)
            if self._num_wasted >= PATIENCE:
                track.failed = f"{PATIENCE} steps in a row could not be used: {stepped.skipped}"
            if track.is_checkpoint_due:
                track.save(self._state())
            report(track)
        self.optimizer.flush()
        self.optimizer.close()

    def _step(self, number: int) -> Stepped:
        rate = self._schedule.rate(number)
        samples = self._order.batch(number)
        entries = [Entry("full", place, sample) for place, sample in enumerate(samples)]
        targets = {"full": sum(len(sample.places) for sample in samples)}
        batch = lay_out(entries, self._losses.layout, self.model.device)
        loss = self._losses.of(batch, targets)["full"]
        told, norm, skipped = float(loss.detach()), math.nan, f"the loss is {float(loss.detach())}"
        if math.isfinite(told):
            loss.backward()
            norm = float(
                torch.nn.utils.get_total_norm(
                    [p.grad for p in self.model.parameters() if p.grad is not None]
                )
            )
            skipped = f"the norm of the gradients is {norm}"
        if math.isfinite(norm):
            skipped = None
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        self.optimizer.zero_grad()
        self._num_wasted = 0 if skipped is None else self._num_wasted + 1
        return Stepped(number, told, norm, rate, sum(map(len, samples)), skipped)

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
