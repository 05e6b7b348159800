"""A job that is only simulated."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.sched.shape import SequenceShape


@dataclass
class SimJob:
    """``batches``: the sequences of its steps, repeated as long as there are steps.

    ``stop_at``: the step at which an early stop ends it, if early stops are asked for.
    """

    name: str
    arrived_s: float
    batches: Sequence[Sequence[SequenceShape]]
    num_steps: int
    priority: int = 0
    static_nbytes: int = 0
    stop_at: int | None = None
    steps_done: int = 0
    ended_s: float | None = None
    tokens_trained: int = field(default=0)

    @property
    def has_started(self) -> bool:
        """Whether it took a step."""
        return self.steps_done > 0

    @property
    def tokens_left(self) -> float:
        """By the mean of its batches."""
        mean = sum(each.tokens for batch in self.batches for each in batch) / len(self.batches)
        return mean * (self.num_steps - self.steps_done)

    @property
    def turnaround_s(self) -> float:
        """From its arrival to its end."""
        assert self.ended_s is not None
        return self.ended_s - self.arrived_s

    def shapes(self) -> Sequence[SequenceShape]:
        """Of its next step."""
        return self.batches[self.steps_done % len(self.batches)]
