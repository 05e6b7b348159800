"""The memory model against the bytes that real batches keep."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.lora.problems import base
from training.data.sample import Sample
from training.lora.adapter import new_adapter
from training.lora.job import LoraJob
from training.lora.options import LoraOptions
from training.lora.trainer import FusedTrainer
from training.sched.memory import MemoryModel, non_negative_least_squares
from training.sched.policy import create_policy
from training.sched.room import Room
from training.sched.shape import BatchShape, Layout
from training.schedule import Schedule


class Queued:
    """A job of the trainer as a policy sees it."""

    def __init__(self, job: LoraJob) -> None:
        self.job = job
        self.name, self.static_nbytes = job.name, job.static_nbytes
        self.priority, self.arrived_s, self.tokens_left = 0, 0.0, 1.0
        self.has_started = True
        self.shapes = job.shapes


def fleet(layout: Layout, seed: int, observe) -> FusedTrainer:
    """Five jobs whose batches differ in number and length of sequences from step to step."""
    rng = random.Random(seed)
    fused = FusedTrainer(base(torch.float32), layout=layout, observe=observe)
    for number in range(5):
        chance = torch.Generator().manual_seed(seed + number)
        samples = []
        for _ in range(40):
            length = rng.randint(4, 90)
            tokens = torch.randint(3, 128, (length,), generator=chance)
            samples.append(Sample(tokens, torch.arange(length) >= rng.randint(1, length - 1)))
        options = LoraOptions(r=rng.randint(1, 8), dropout=rng.choice((0.0, 0.1)))
        fused.join(
            LoraJob(
                f"job{number}",
                new_adapter(fused.base.model, options, seed=number),
                samples,
                Schedule(1e-3, 10_000),
                batch_size=rng.randint(1, 4),
            )
        )
    return fused


@pytest.mark.parametrize("layout", list(Layout))
def test_unseen_shapes_are_foretold_within_three_per_cent(layout: Layout) -> None:
    seen: list[tuple[BatchShape, int]] = []
    fused = fleet(layout, 3, lambda shape, nbytes: seen.append((shape, nbytes)))
    rng = random.Random(5)
    while len(seen) < 70:
        fused.step(sorted(rng.sample(list(fused.jobs), rng.randint(1, 5))))
    model = MemoryModel()
    for shape, nbytes in seen[:20]:
        model.observe(shape, nbytes)
    errors = [abs(model.predict(shape) - nbytes) / nbytes for shape, nbytes in seen[20:]]
    assert np.mean(errors) <= 0.03
    assert model.coefficients is not None
    assert min(model.coefficients) >= 0


@pytest.mark.parametrize(("layout", "policy"), [("padded", "minpad"), ("packed", "packed")])
def test_no_mix_takes_more_than_the_budget(layout: str, policy: str) -> None:
    """250 mixes each, of jobs that come and go, at budgets that let one to five step together."""
    room = Room(layout=Layout(layout), most_tokens=10**6, nbytes=0)
    taken: list[int] = []

    def observe(shape: BatchShape, nbytes: int) -> None:
        room.memory.observe(shape, nbytes)
        taken.append(nbytes)

    fused = fleet(room.layout, 7, observe)
    rng, together = random.Random(9), []
    for mix in range(250):
        present = rng.sample(list(fused.jobs), rng.randint(1, 5))
        queued = [Queued(fused.jobs[name]) for name in present]
        static = sum(each.static_nbytes for each in queued)
        budget = static + rng.randint(1_500_000, 9_000_000)
        asked = Room(layout=room.layout, most_tokens=10**6, nbytes=budget, memory=room.memory)
        chosen = create_policy(policy).choose(queued, asked, 0.0)
        taken.clear()
        fused.step([each.name for each in chosen])
        [nbytes] = taken
        if len(chosen) > 1:
            assert static + nbytes <= budget, mix
        together.append(len(chosen))
    assert set(together) >= {1, 2, 3, 4}


def test_nothing_known_means_one_job_at_a_time() -> None:
    fused = fleet(Layout.PADDED, 1, None)
    queued = [Queued(each) for each in fused.jobs.values()]
    room = Room(layout=Layout.PADDED, nbytes=10**12)
    assert len(create_policy("minpad").choose(queued, room, 0.0)) == 1


def test_margin_shrinks_as_predictions_hold() -> None:
    model = MemoryModel()
    rng = random.Random(1)
    for _ in range(60):
        tokens = rng.randint(8, 4000)
        shape = BatchShape(tokens, tokens**2, tokens // 2, 0, tokens)
        assert model.margin >= 0.02
        model.observe(shape, 1000 + 50 * tokens + 3 * (tokens // 2))
    assert model.margin == pytest.approx(0.02)
    assert model.mape < 1e-6


@given(seed=st.integers(0, 10_000))
def test_no_coefficients_are_better(seed: int) -> None:
    """The conditions of Karush, Kuhn and Tucker: gradient 0 where above 0, else not below 0."""
    chance = np.random.default_rng(seed)
    rows, wanted = chance.normal(size=(12, 4)), chance.normal(size=12)
    found = non_negative_least_squares(rows, wanted)
    gradient = rows.T @ (rows @ found - wanted)
    assert (found >= 0).all()
    assert (gradient >= -1e-9).all()
    assert np.abs(gradient[found > 0]).max(initial=0) < 1e-9
