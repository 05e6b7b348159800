"""The memory model against what real batches take, and against limits that are enforced."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.foretold import JOBS, MUST, Queued, errors_of, fleet, fuzz, step_within
from tests.training.lora.problems import base
from training.sched.memory import MemoryModel, non_negative_least_squares
from training.sched.policy import create_policy
from training.sched.room import Room
from training.sched.shape import BatchShape, Layout

pytestmark = pytest.mark.long


@pytest.mark.parametrize("layout", list(Layout))
def test_unseen_shapes_are_foretold_within_three_per_cent(layout: Layout) -> None:
    errors = errors_of(partial(base, torch.float32), layout, 100)
    assert len(errors) >= 50
    assert sum(errors) / len(errors) <= MUST


@pytest.mark.parametrize("layout", list(Layout))
def test_no_mix_takes_more_than_its_budget(layout: Layout) -> None:
    """`python -m bench.train --only foretold` draws five hundred."""
    found = fuzz(partial(base, torch.float32), layout, 40)
    assert found.out_of_memory == 0
    assert found.used <= 1
    assert set(found.together) >= {1, 2, 3}
    assert found.divided


def test_who_takes_more_than_the_limit_gets_none_and_steps_in_parts() -> None:
    """The limit of the fuzz is one: without a model of memory it is run into, and lived with."""
    fused = fleet(base(torch.float32), Layout.PACKED, 7, None)
    whole = step_within(fused, list(fused.jobs))
    less = step_within(fused, list(fused.jobs), whole.nbytes // 2)
    assert (whole.refused, less.refused > 0) == (0, True)
    assert less.nbytes <= whole.nbytes // 2
    assert len(fused.jobs) == JOBS


def test_nothing_known_means_one_job_at_a_time() -> None:
    fused = fleet(base(torch.float32), Layout.PADDED, 1, None)
    queued = [Queued(each) for each in fused.jobs.values()]
    room = Room(layout=Layout.PADDED, nbytes=10**12)
    assert len(create_policy("minpad").choose(queued, room, 0.0)) == 1


def test_margin_shrinks_as_predictions_hold() -> None:
    model = MemoryModel()
    rng = random.Random(1)
    for _ in range(60):
        tokens = rng.randint(8, 4000)
        shape = BatchShape(tokens, tokens**2, tokens // 2, tokens // 3, 0, tokens)
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
