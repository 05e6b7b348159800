"""Discrete events: jobs arrive, a policy chooses, a step takes as long as its shape says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.sched.policy import Policy
from training.sched.room import Room, shape_together
from training.sched.shape import BatchShape
from training.sim.job import SimJob


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step: ``base_s`` whatever is in it, per job, per token, per squared length."""

    base_s: float
    job_s: float
    token_s: float
    square_s: float

    def seconds(self, shape: BatchShape, num_jobs: int) -> float:
        """Of a batch."""
        tokens = self.token_s * shape.tokens + self.square_s * shape.squares
        return self.base_s + self.job_s * num_jobs + tokens


@dataclass(frozen=True, slots=True)
class SimOutcome:
    """SIMULATED. ``makespan_s``: first arrival to last end; ``turnarounds_s`` of the jobs.

    ``padding``: share of the tokens that were computed for nothing. ``steps``: of the trainer.
    """

    makespan_s: float
    turnarounds_s: Sequence[float]
    padding: float
    steps: int

    @property
    def turnaround_s(self) -> float:
        """The mean."""
        return sum(self.turnarounds_s) / len(self.turnarounds_s)

    @property
    def fairness(self) -> float:
        """Jain's index of the turnarounds: 1 when all waited alike."""
        squares = sum(each**2 for each in self.turnarounds_s)
        return sum(self.turnarounds_s) ** 2 / (len(self.turnarounds_s) * squares)


def simulate(
    jobs: Iterable[SimJob], policy: Policy, room: Room, time: StepTime, *, early_stop: bool = False
) -> SimOutcome:
    """Run all jobs, which are changed, to their end. Deciding takes no time here."""
    arrivals = sorted(jobs, key=lambda job: job.arrived_s, reverse=True)
    every = list(arrivals)
    present: list[SimJob] = []
    now_s, steps, real, paid = 0.0, 0, 0, 0
    while arrivals or present:
        if not present:
            now_s = max(now_s, arrivals[-1].arrived_s)
        while arrivals and arrivals[-1].arrived_s <= now_s:
            present.append(arrivals.pop())
        chosen = policy.choose(present, room, now_s)
        assert chosen, f"{policy.name} lets {len(present)} jobs wait for ever"
        shape = shape_together(chosen, room.layout)
        now_s += time.seconds(shape, len(chosen))
        steps, real, paid = steps + 1, real + shape.real, paid + shape.tokens
        for job in present:
            if any(job is each for each in chosen):
                job.steps_done += 1
                last = job.stop_at if early_stop and job.stop_at else job.num_steps
                if job.steps_done >= last:
                    job.ended_s = now_s
        present = [job for job in present if job.ended_s is None]
    return SimOutcome(
        now_s - min(job.arrived_s for job in every),
        [job.turnaround_s for job in every],
        1 - real / paid,
        steps,
    )
