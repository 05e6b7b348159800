"""LoRA jobs from their first step to their last, together over one base."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from transformers import PreTrainedModel

from training.jobs.limits import RunLimits, spare_nbytes
from training.jobs.stopping import Interrupted, IsStopping
from training.jobs.track import Track
from training.lora.adapter import new_adapter
from training.lora.footprint import is_out_of_memory
from training.lora.job import Failed, LoraJob, Stepped
from training.lora.trainer import FusedTrainer, Outcome
from training.sched.policy import create_policy
from training.sched.room import Room, held_nbytes
from training.sched.shape import SequenceShape

BREAKS = (RuntimeError, ValueError, IndexError, TypeError)
DEVICE_LOST = getattr(torch, "AcceleratorError", ())
"""After these nothing runs on the device any more, in this process."""

log = logging.getLogger(__name__)

Report = Callable[[Track], None]
"""Told of every step of a job."""


class _Running:
    """A job as the policy sees it."""

    def __init__(self, track: Track, job: LoraJob, arrived_s: float) -> None:
        self.track = track
        self.job = job
        self.name = job.name
        self.priority = track.spec.priority
        self.arrived_s = arrived_s
        self.static_nbytes = job.static_nbytes

    @property
    def has_started(self) -> bool:
        return self.job.num_steps > 0

    @property
    def tokens_left(self) -> float:
        per_step = self.track.data.facts.tokens / self.track.per_epoch
        return per_step * (self.track.total_steps - self.job.num_steps)

    def shapes(self) -> Sequence[SequenceShape]:
        return self.job.shapes()


class LoraRun:
    """Trains jobs that are added and taken away as it goes.

    :attr:`trainer` and :attr:`jobs` are there to export from.
    """

    def __init__(self, limits: RunLimits, model: PreTrainedModel) -> None:
        self._base_nbytes = sum(parameter.nbytes for parameter in model.parameters())
        self._memory_gb = limits.memory_gb
        memory_nbytes = spare_nbytes(self._memory_gb, "the base alone", self._base_nbytes)
        self._room = Room(
            layout=limits.layout,
            most_jobs=limits.most_jobs,
            most_tokens=limits.most_tokens,
            nbytes=memory_nbytes,
        )
        self._policy = create_policy(limits.policy_name)
        memory = None if memory_nbytes is None else self._room.memory
        self.trainer = FusedTrainer(model, layout=limits.layout, memory=memory)
        self.jobs: dict[str, LoraJob] = {}
        self._model = model
        self._running: list[_Running] = []

    @property
    def tracks(self) -> list[Track]:
        """Of jobs that still take steps."""
        return [running.track for running in self._running]

    def add(self, track: Track, age_s: float = 0.0) -> None:
        """Have a job, which goes on from its newest checkpoint.

        ``age_s``: how long ago it was asked for. Raises NoSuchLayer, OtherRun, TooLittleMemory.
        """
        job = _job(self._model, track)
        needed = self._base_nbytes + job.static_nbytes
        spare_nbytes(self._memory_gb, f"the base with the adapter of {job.name}", needed)
        if (state := track.resume()) is not None:
            job.load(state)
        self.jobs[job.name] = job
        if not track.is_over:
            self.trainer.join(job)
            self._running.append(_Running(track, job, time.monotonic() - age_s))

    def remove(self, name: str) -> None:
        """Let a job go, with all that is known of it."""
        self._running = [running for running in self._running if running.name != name]
        self.jobs.pop(name)
        if name in self.trainer.jobs:
            self.trainer.leave(name)

    def save(self, name: str) -> None:
        """Keep a checkpoint of a job as it is. Raises NoRoom."""
        [running] = (running for running in self._running if running.name == name)
        running.track.save(running.job.state())

    def run(self, report: Report, is_stopping: IsStopping) -> None:
        """To the end of all jobs. Raises Interrupted, with every job saved; NoRoom."""
        while self._running:
            if is_stopping():
                for running in self._running:
                    self.save(running.name)
                raise Interrupted
            self.step(report)

    def step(self, report: Report) -> None:
        """One step of those jobs whose turn it is. Raises NoRoom."""
        chosen = self._policy.choose(self._running, self._room, time.monotonic())
        if self._room.nbytes is not None:
            self.trainer.spare_nbytes = self._room.nbytes - held_nbytes(chosen, self._running)
        outcomes = self._outcomes([each.name for each in chosen])
        for running in list(self._running):
            outcome = outcomes.get(running.name)
            if outcome is None:
                continue
            track, job = running.track, running.job
            if isinstance(outcome, Failed):
                track.failed = outcome.reason
            else:
                self._note(track, job, outcome)
            if track.is_checkpoint_due:
                track.save(job.state())
            if track.is_over:
                self._running.remove(running)
                if job.name in self.trainer.jobs:
                    self.trainer.leave(job.name)
            report(track)

    def _outcomes(self, names: Sequence[str]) -> Mapping[str, Outcome]:
        """Of a step together; if that breaks, each steps alone, and who breaks that has failed."""
        try:
            return self.trainer.step(names)
        except BREAKS as error:
            if isinstance(error, DEVICE_LOST):
                raise
            log.warning("a step of %d jobs broke; each steps alone", len(names), exc_info=error)
        outcomes: dict[str, Outcome] = {}
        for name in names:
            try:
                outcomes |= self.trainer.step([name])
            except BREAKS as error:
                if isinstance(error, DEVICE_LOST):
                    raise
                outcomes[name] = Failed(f"its step broke: {type(error).__name__}: {error}")
        return outcomes

    def _note(self, track: Track, job: LoraJob, stepped: Stepped) -> None:
        try:
            track.took(stepped, lambda data: self.trainer.evaluate(job, data.samples))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            track.failed = "its validation data does not fit into memory"


def _job(model: torch.nn.Module, track: Track) -> LoraJob:
    spec = track.spec
    return LoraJob(
        spec.name,
        new_adapter(model, spec.adapter.options, spec.seed),
        track.data.samples,
        spec.schedule(track.per_epoch),
        batch_size=spec.batch_size,
        adamw=spec.optimizer.adamw,
        seed=spec.seed,
    )
