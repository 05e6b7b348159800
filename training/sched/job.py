"""A job as policies see it."""

from collections.abc import Sequence
from typing import Protocol

from training.sched.shape import SequenceShape


class JobView(Protocol):
    """Read only; views move only as steps are taken."""

    @property
    def name(self) -> str:
        """Unique among the jobs that are there."""
        ...

    @property
    def priority(self) -> int:
        """Larger goes first."""
        ...

    @property
    def arrived_s(self) -> float:
        """When it was submitted, seconds."""
        ...

    @property
    def tokens_left(self) -> float:
        """What is left to train, in tokens, as far as known."""
        ...

    @property
    def static_nbytes(self) -> int:
        """What it holds from its first step to its end: weights, gradients, moments."""
        ...

    @property
    def has_started(self) -> bool:
        """Whether it holds that."""
        ...

    def shapes(self) -> Sequence[SequenceShape]:
        """The sequences of its next step, at least one."""
        ...
