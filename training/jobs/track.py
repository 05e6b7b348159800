"""How far a job has come, what it said on its way, and whether that is reason to end it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from training.data.dataset import Dataset
from training.jobs.checkpoint import States
from training.jobs.spec import JobSpec
from training.lora.job import Stepped
from training.sched.early_stop import EarlyStop, Reason


class Status(Enum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class OtherRun(Exception):
    """The output holds another run of that name; the message says what to do."""


@dataclass
class Curve:
    """Rows of steps and of evaluations, kept with every checkpoint."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last_loss(self) -> float | None:
        """Mean training loss of the last ten steps that were used."""
        used = [row["loss"] for row in self.steps if row["skipped"] is None][-10:]
        return sum(used) / len(used) if used else None

    @property
    def last_valid_loss(self) -> float | None:
        """Of the last evaluation."""
        return self.evaluations[-1]["valid_loss"] if self.evaluations else None


class Track:
    """One job's book-keeping. ``identity``: what makes it this run and no other, as JSON."""

    def __init__(
        self,
        spec: JobSpec,
        data: Dataset,
        validation: Dataset | None,
        checkpoints: States,
        identity: Mapping[str, Any],
        checkpoint_every: int,
    ) -> None:
        self.spec = spec
        self.data = data
        self.validation = validation
        self.identity = dict(identity)
        self.curve = Curve()
        self.per_epoch = -(-len(data.samples) // spec.batch_size)
        self.total_steps = spec.total_steps(self.per_epoch)
        self.stopped: Reason | None = None
        self.stopped_at: int | None = None
        """The step whose loss was reason for it."""
        self.failed: str | None = None
        self._checkpoints = checkpoints
        self._every = checkpoint_every
        self._early_stop = EarlyStop(spec.early_stop.options, self.total_steps)

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return len(self.curve.steps)

    @property
    def is_over(self) -> bool:
        """Whether it takes no more steps."""
        return bool(self.stopped or self.failed) or self.num_steps >= self.total_steps

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether it is time to save."""
        return self.is_over or self.num_steps % self._every == 0

    @property
    def num_wasted(self) -> int:
        """Steps in a row that were skipped, the last ones."""
        used = next((n for n, row in enumerate(self.curve.steps[::-1]) if not row["skipped"]), None)
        return self.num_steps if used is None else used

    def is_looked_at(self, num_steps: int) -> bool:
        """Whether the weights after so many steps are saved, evaluated, or the result."""
        is_evaluated = self.validation is not None and num_steps % self.spec.eval_every == 0
        return is_evaluated or num_steps % self._every == 0 or num_steps >= self.total_steps

    def took(self, stepped: Stepped, evaluate: Callable[[Dataset], float]) -> None:
        """Note a step; evaluate when it is time."""
        row = {
            "step": stepped.step + 1,
            "loss": stepped.loss,
            "lr": stepped.lr,
            "grad_norm": stepped.grad_norm,
            "tokens": stepped.tokens,
            "skipped": stepped.skipped,
        }
        self.curve.steps.append(row)
        if stepped.skipped is None:
            self._stop(self._early_stop.trained(stepped.loss), self.num_steps)
        is_due = self.num_steps % self.spec.eval_every == 0 or self.num_steps == self.total_steps
        if self.validation is not None and is_due:
            loss = evaluate(self.validation)
            self.curve.evaluations.append({"step": self.num_steps, "valid_loss": loss})
            self._stop(self._early_stop.evaluated(self.num_steps, loss), self.num_steps)

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Keep a checkpoint. Raises NoRoom."""
        facts = {
            "identity": self.identity,
            "steps": self.curve.steps,
            "evaluations": self.curve.evaluations,
        }
        self._checkpoints.save(self.num_steps, state, facts)

    def resume(self) -> dict[str, torch.Tensor] | None:
        """The state of the newest checkpoint, if there is one. Raises OtherRun."""
        found = self._checkpoints.load()
        if found is None:
            return None
        state, facts = found
        theirs = facts["identity"]
        if theirs != self.identity:
            differing = sorted(
                key
                for key in self.identity.keys() | theirs.keys()
                if self.identity.get(key) != theirs.get(key)
            )
            raise OtherRun(
                f"the output holds another run of {self.spec.name}: {', '.join(differing)} differ;"
                " name another output, or remove that one"
            )
        self.curve = Curve(facts["steps"], facts["evaluations"])
        for row in self.curve.steps:
            if row["skipped"] is None:
                self._stop(self._early_stop.trained(row["loss"]), row["step"])
        for row in self.curve.evaluations:
            told = self._early_stop.evaluated(row["step"], row["valid_loss"])
            self._stop(told, row["step"])
        return state

    def _stop(self, reason: Reason | None, step: int) -> None:
        """For the first reason there is."""
        if reason is not None and self.stopped is None:
            self.stopped, self.stopped_at = reason, step
