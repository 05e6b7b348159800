"""The order of jobs: by priority, the old ones promoted, the short ones first."""

from dataclasses import dataclass
from math import floor

from training.sched.job import JobView


@dataclass(frozen=True, slots=True)
class Aging:
    """A job rises by one priority for every ``period_s`` since it came.

    So nobody starves: a job is never ranked behind one of a priority higher by ``d`` that came more
    than ``(d + 1) · period_s`` after it, however short that one is.
    """

    period_s: float = 4 * 3600.0

    def __post_init__(self) -> None:
        if not self.period_s > 0:
            raise ValueError(f"aging takes a period above 0 seconds, not {self.period_s}")

    def priority(self, job: JobView, now_s: float) -> int:
        """With age."""
        return job.priority + floor((now_s - job.arrived_s) / self.period_s)

    def rank(self, job: JobView, now_s: float) -> tuple[float, ...]:
        """Smaller goes first: aged priority, then what is left to train, then arrival."""
        return -self.priority(job, now_s), job.tokens_left, job.arrived_s
