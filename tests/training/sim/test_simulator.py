"""SIMULATED days: every job ends, and by our policies sooner than first come, first served."""

from statistics import mean

import pytest

from training.sched.policy import Fifo, MinPad, Packed, Policy
from training.sched.rank import Aging
from training.sched.room import Room
from training.sched.shape import Layout, SequenceShape
from training.sim.day import day_of_jobs
from training.sim.job import SimJob
from training.sim.simulator import SimOutcome, StepTime, simulate

TIME = StepTime(base_s=0.05, job_s=0.005, token_s=7e-4, square_s=1e-8)
AGING = Aging()


def day(policy: Policy, layout: Layout, seed: int, *, early_stop: bool = False) -> SimOutcome:
    """90 jobs of a fifth of the usual steps in an hour: more than can be done in it."""
    jobs = day_of_jobs(90, seed, span_s=3600, scale=0.2)
    room = Room(layout=layout, most_jobs=4, most_tokens=8192)
    return simulate(jobs, policy, room, TIME, early_stop=early_stop)


@pytest.mark.parametrize(
    ("policy", "layout"), [(MinPad(AGING), Layout.PADDED), (Packed(AGING), Layout.PACKED)]
)
def test_shorter_turnaround_and_makespan_than_fifo(policy: Policy, layout: Layout) -> None:
    pairs = [(day(policy, layout, seed), day(Fifo(), Layout.PADDED, seed)) for seed in range(5)]
    assert mean(a.turnaround_s / b.turnaround_s for a, b in pairs) <= 0.76
    assert mean(a.makespan_s / b.makespan_s for a, b in pairs) <= 0.88
    assert all(a.padding < b.padding for a, b in pairs)


def test_early_stops_leave_more_for_the_others() -> None:
    stopped, whole = (
        day(Packed(AGING), Layout.PACKED, 1, early_stop=asked) for asked in (True, False)
    )
    assert stopped.turnaround_s < whole.turnaround_s
    assert stopped.steps < whole.steps


def test_one_job_takes_as_long_as_its_steps() -> None:
    batch = [SequenceShape(8, 0, 6, 7)] * 2
    job = SimJob("only", 5.0, [batch], 3)
    out = simulate([job], Fifo(), Room(layout=Layout.PADDED), StepTime(1.0, 0.5, 0.25, 0.0))
    assert out.makespan_s == pytest.approx(3 * (1.0 + 0.5 + 16 * 0.25))
    assert out.turnarounds_s == [out.makespan_s]
    assert (out.padding, out.steps, out.fairness) == (0.0, 3, 1.0)


def test_the_same_seed_is_the_same_day() -> None:
    assert day_of_jobs(9, 4) == day_of_jobs(9, 4) != day_of_jobs(9, 5)
