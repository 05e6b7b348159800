"""Steps of many jobs at once over one base, each as if it were alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from training.data.order import in_batches
from training.data.sample import Sample
from training.lora.adapter import Adapter, Pair
from training.lora.base import SharedBase
from training.lora.batch import Batch, Entry, Share, lay_out
from training.lora.footprint import PeakBytes, is_out_of_memory
from training.lora.function import Segment
from training.lora.job import PATIENCE, Failed, LoraJob, Stepped
from training.lora.losses import Losses
from training.sched.memory import MemoryModel
from training.sched.shape import BatchShape, Layout, shape_of
from training.stream import generator

Outcome = Stepped | Failed


class DoesNotFit(ValueError):
    """A job cannot train on this base; the message says why."""


@dataclass
class _Gathered:
    """What passes over parts of a step have added up to, by job."""

    losses: dict[str, float] = field(default_factory=dict)
    grads: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    too_large: set[str] = field(default_factory=set)
    """Jobs with a sequence that does not fit into memory alone."""

    def add(self, losses: dict[str, float], grads: dict[str, list[torch.Tensor]]) -> None:
        """Of one pass."""
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss
        for name, own in grads.items():
            before = self.grads.get(name)
            summed = (
                own if before is None else [a.add_(b) for a, b in zip(before, own, strict=True)]
            )
            self.grads[name] = summed


class FusedTrainer:
    """Joins and leaves happen between steps; nothing of one job depends on who else is there.

    A batch that does not fit into memory is halved and tried again: no job has stepped by then, and
    a job's gradients do not depend on how its sequences are divided, dropout included.

    ``memory`` learns what batches take. Where :attr:`spare_nbytes` says what they may take, those
    that are foretold to take more are halved before they are tried; while nothing is known, down to
    single sequences.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        layout: Layout = Layout.PADDED,
        memory: MemoryModel | None = None,
    ) -> None:
        self.base = SharedBase(model.eval())
        self.layout = layout
        self.jobs: dict[str, LoraJob] = {}
        self.spare_nbytes: int | None = None
        self._losses = Losses(model, layout)
        self._memory = memory

    def join(self, job: LoraJob) -> None:
        """Have a job. Raises DoesNotFit for a second one of its name."""
        if job.name in self.jobs:
            raise DoesNotFit(f"there is a job {job.name!r} already")
        self.jobs[job.name] = job

    def leave(self, name: str) -> LoraJob:
        """Let a job go, as it is. It can join again."""
        return self.jobs.pop(name)

    def step(self, names: Iterable[str] | None = None) -> dict[str, Outcome]:
        """One step of each of these jobs (default: all), together. Failed ones have left.

        Raises what a model's forward or backward pass raises; nobody has stepped then.
        """
        jobs = [self.jobs[name] for name in (self.jobs if names is None else names)]
        entries = {job.name: job.entries() for job in jobs}
        targets = {
            name: sum(len(entry.sample.places) for entry in own) for name, own in entries.items()
        }
        gathered = _Gathered()
        self._pass_over([entry for own in entries.values() for entry in own], targets, gathered)
        outcomes: dict[str, Outcome] = {}
        for job in jobs:
            try:
                outcomes[job.name] = self._conclude(job, entries[job.name], gathered)
            except (RuntimeError, ValueError) as error:
                outcomes[job.name] = Failed(f"its step broke: {error}")
            if isinstance(outcomes[job.name], Failed):
                self.leave(job.name)
        return outcomes

    def evaluate(self, job: LoraJob, samples: Sequence[Sample], batch_size: int = 8) -> float:
        """Mean loss over all targets of some samples, nats; without dropout, changing nothing."""
        total = 0.0
        for part in in_batches(samples, batch_size):
            total += self._loss_of(job, [Entry(job.name, n, each) for n, each in enumerate(part)])
        return total / max(sum(len(sample.places) for sample in samples), 1)

    def _loss_of(self, job: LoraJob, entries: Sequence[Entry]) -> float:
        """Sum over all targets; in parts where the whole would not even train."""
        if len(entries) > 1 and not self._fits(entries):
            middle = len(entries) // 2
            return sum(self._loss_of(job, half) for half in (entries[:middle], entries[middle:]))
        batch = lay_out(entries, self.layout, self.base.device)
        additions = _additions(batch, {job.name: job}, is_training=False)
        with torch.no_grad(), self.base.adding(additions):
            return float(self._losses.of(batch, {job.name: 1})[job.name])

    def logits(self, adapter: Adapter, tokens: torch.Tensor) -> torch.Tensor:
        """What the base says with an adapter: ``[1, n]`` to ``[1, n, vocabulary]``."""
        whole = Segment(slice(None), adapter.options.scale)
        pairs = adapter.pairs.items()
        with self.base.adding({path: [(whole, pair)] for path, pair in pairs}):
            return self._losses.logits(tokens)

    def _conclude(self, job: LoraJob, entries: Sequence[Entry], gathered: _Gathered) -> Outcome:
        if job.name in gathered.too_large:
            longest = max(len(entry.sample) for entry in entries)
            return Failed(f"a sequence of up to {longest} tokens does not fit into memory")
        tokens = sum(len(entry.sample) for entry in entries)
        loss, grads = gathered.losses[job.name], gathered.grads.get(job.name)
        stepped = job.take(loss, grads, tokens)
        if job.num_wasted >= PATIENCE:
            return Failed(f"{PATIENCE} steps in a row could not be used: {stepped.skipped}")
        return stepped

    def _pass_over(
        self, entries: Sequence[Entry], targets: dict[str, int], gathered: _Gathered
    ) -> None:
        if len(entries) == 1 or self._fits(entries):
            try:
                losses, grads = self._gradients(entries, targets)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                gathered.add(losses, grads)
                return
        # Outside of the handler: the error's traceback holds what was allocated.
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(entries) == 1:
            gathered.too_large.add(entries[0].job)
            return
        middle = len(entries) // 2
        for half in (entries[:middle], entries[middle:]):
            self._pass_over(half, targets, gathered)

    def _fits(self, entries: Sequence[Entry]) -> bool:
        if self._memory is None or self.spare_nbytes is None:
            return True
        return self._memory.bound(self._shape(entries)) <= self.spare_nbytes

    def _shape(self, entries: Sequence[Entry]) -> BatchShape:
        shapes = (
            entry.sample.shape(self.jobs[entry.job].adapter.per_token_nbytes) for entry in entries
        )
        return shape_of(list(shapes), self.layout)

    def _gradients(
        self, entries: Sequence[Entry], targets: dict[str, int]
    ) -> tuple[dict[str, float], dict[str, list[torch.Tensor]]]:
        """Losses and gradients; those of jobs whose loss is not finite are left out."""
        batch = lay_out(entries, self.layout, self.base.device)
        jobs = {name: self.jobs[name] for name in batch.shares}
        with self._observed(entries):
            with self.base.adding(_additions(batch, jobs, is_training=True)):
                losses = self._losses.of(batch, targets)
            told = {name: float(loss.detach()) for name, loss in losses.items()}
            sound = [
                name for name in losses if math.isfinite(told[name]) and losses[name].requires_grad
            ]
            if not sound:
                return told, {}
            parameters = [side for name in sound for side in jobs[name].adapter.parameters]
            total = torch.stack([losses[name] for name in sound]).sum()
            flat = iter(torch.autograd.grad(total, parameters, materialize_grads=True))
        return told, {name: [next(flat) for _ in jobs[name].adapter.parameters] for name in sound}

    @contextmanager
    def _observed(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Let the memory model learn from what is done in here, if it wants to."""
        if self._memory is None:
            yield
            return
        shape = self._shape(entries)
        if not self._memory.wants(shape):
            yield
            return
        with PeakBytes() as peak:
            yield
        self._memory.observe(shape, peak.nbytes)


def _additions(
    batch: Batch, jobs: dict[str, LoraJob], *, is_training: bool
) -> dict[str, list[tuple[Segment, Pair]]]:
    """What is to be added at each layer, jobs in the order of the batch."""
    wanted: dict[str, list[tuple[Segment, Pair]]] = {}
    for name, share in batch.shares.items():
        job = jobs[name]
        options = job.adapter.options
        for path, pair in job.adapter.pairs.items():
            kept = None
            if is_training and options.dropout:
                kept = _kept(job, share, path, pair.down.shape[1]).to(pair.down.device)
            segment = Segment(share.rows, options.scale, kept, options.dropout)
            wanted.setdefault(path, []).append((segment, pair))
    return wanted


def _kept(job: LoraJob, share: Share, path: str, width: int) -> torch.Tensor:
    """What dropout leaves of a layer's input; by the sequence, whoever else is in the batch."""
    rows = [
        torch.rand(
            len(entry.sample),
            width,
            generator=generator(job.seed, "dropout", job.num_steps, entry.number, path),
        )
        >= job.adapter.options.dropout
        for entry in share.entries
    ]
    return torch.cat(rows)
