"""What a step may take: jobs, tokens and memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.sched.job import JobView
from training.sched.memory import MemoryModel
from training.sched.shape import BatchShape, Layout, SequenceShape, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Limits of a trainer. ``nbytes``: for adapters and batches, beside the base; None: no limit.

    ``most_tokens``: of a batch, padding included; a single job's batch may have more.
    """

    layout: Layout
    most_jobs: int = 8
    most_tokens: int = 4096
    nbytes: int | None = None
    memory: MemoryModel = field(default_factory=MemoryModel)

    def holds(self, jobs: Sequence[JobView], static_nbytes: int) -> bool:
        """Whether these can step together, beside adapters that take so much in all.

        While nothing is known of memory one job steps alone.
        """
        if len(jobs) > self.most_jobs:
            return False
        shape = shape_together(jobs, self.layout)
        if len(jobs) > 1 and shape.tokens > self.most_tokens:
            return False
        return self.nbytes is None or static_nbytes + self.memory.bound(shape) <= self.nbytes


def shape_together(jobs: Sequence[JobView], layout: Layout) -> BatchShape:
    """The batch of the next steps of some jobs."""
    sequences: list[SequenceShape] = [each for job in jobs for each in job.shapes()]
    return shape_of(sequences, layout)


def held_nbytes(chosen: Sequence[JobView], jobs: Sequence[JobView]) -> int:
    """What the jobs that are there hold if some of them step now."""
    names = {job.name for job in chosen}
    return sum(job.static_nbytes for job in jobs if job.has_started or job.name in names)
