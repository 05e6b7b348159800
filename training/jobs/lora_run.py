"""LoRA jobs from their first step to their last, together over one base."""

import time
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from training.jobs.spec import BadSpec, TrainSpec
from training.jobs.stopping import Interrupted, IsStopping
from training.jobs.track import Track
from training.lora.adapter import new_adapter
from training.lora.job import Failed, LoraJob
from training.lora.trainer import FusedTrainer
from training.sched.policy import create_policy
from training.sched.room import Room
from training.sched.shape import SequenceShape

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
    """Trains all jobs of a file; :attr:`trainer` and :attr:`jobs` are there to export from."""

    def __init__(self, spec: TrainSpec, model: PreTrainedModel, tracks: Sequence[Track]) -> None:
        base_nbytes = sum(parameter.nbytes for parameter in model.parameters())
        memory_nbytes = None if spec.memory_gb is None else int(spec.memory_gb * 1e9) - base_nbytes
        if memory_nbytes is not None and memory_nbytes <= 0:
            raise BadSpec(
                f"memory_gb is {spec.memory_gb}, but the base alone takes {base_nbytes / 1e9:.1f}"
            )
        self._room = Room(
            layout=spec.layout,
            most_jobs=spec.most_jobs,
            most_tokens=spec.most_tokens,
            nbytes=memory_nbytes,
        )
        self._policy = create_policy(spec.policy_name)
        observe = None if memory_nbytes is None else self._room.memory.observe
        self.trainer = FusedTrainer(model, layout=spec.layout, observe=observe)
        self.jobs: dict[str, LoraJob] = {}
        self._running: list[_Running] = []
        for track in tracks:
            job = _job(model, track)
            if (state := track.resume()) is not None:
                job.load(state)
            self.jobs[job.name] = job
            if not track.is_over:
                self.trainer.join(job)
                self._running.append(_Running(track, job, time.monotonic()))

    def run(self, report: Report, is_stopping: IsStopping) -> None:
        """To the end of all jobs. Raises Interrupted, with every job saved; NoRoom."""
        while self._running:
            if is_stopping():
                for running in self._running:
                    running.track.save(running.job.state())
                raise Interrupted
            self._step(report)

    def _step(self, report: Report) -> None:
        chosen = self._policy.choose(self._running, self._room, time.monotonic())
        outcomes = self.trainer.step(each.name for each in chosen)
        for running in list(self._running):
            outcome = outcomes.get(running.name)
            if outcome is None:
                continue
            track, job = running.track, running.job
            if isinstance(outcome, Failed):
                track.failed = outcome.reason
            else:
                track.took(outcome, lambda data, job=job: self._evaluate(job, data.samples))
            if track.is_checkpoint_due:
                track.save(job.state())
            if track.is_over:
                self._running.remove(running)
                if job.name in self.trainer.jobs:
                    self.trainer.leave(job.name)
            report(track)

    def _evaluate(self, job: LoraJob, samples: Sequence) -> float:
        return self.trainer.evaluate(job, samples)


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
