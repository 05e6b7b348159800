"""Fused equals alone: whoever joins, leaves, waits or is halved, in every layout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.lora.problems import NAMES, STEPS, base, furthest, job, moved, solo, trainer
from training.lora.job import Stepped
from training.lora.trainer import FusedTrainer
from training.sched.shape import Layout

LAYOUTS = list(Layout)


@pytest.fixture(scope="module", params=[0.0, 0.1])
def dropout(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(scope="module")
def alone(dropout: float):
    return {name: solo(name, dropout) for name in NAMES}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fused_is_alone(layout: Layout, dropout: float, alone) -> None:
    fused = trainer(layout)
    for name in NAMES:
        fused.join(job(fused.base.model, name, dropout))
    losses = {name: [] for name in NAMES}
    for _ in range(STEPS):
        for name, outcome in fused.step().items():
            assert isinstance(outcome, Stepped)
            losses[name].append(outcome.loss)
    for name in NAMES:
        assert moved(alone[name])
        assert furthest(fused.jobs[name], alone[name]) <= 1e-12
        single = trainer(Layout.PADDED)
        single.join(job(single.base.model, name, dropout))
        for told in losses[name]:
            assert abs(single.step()[name].loss - told) <= 1e-12


@settings(max_examples=12)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS))
def test_joins_leaves_and_pauses_at_random_change_nothing(
    data: st.DataObject, layout: Layout, alone, dropout: float
) -> None:
    fused = trainer(layout)
    jobs = {name: job(fused.base.model, name, dropout) for name in NAMES}
    while not jobs["a"].is_done:
        present = {"a", *data.draw(st.sets(st.sampled_from("bcd")), label="present")}
        for name in NAMES:
            if name in present and name not in fused.jobs:
                fused.join(jobs[name])
            elif name not in present and name in fused.jobs:
                fused.leave(name)
        waiting = data.draw(st.sets(st.sampled_from(sorted(present))), label="waiting")
        if stepping := [n for n in present - waiting if not jobs[n].is_done] or ["a"]:
            fused.step(sorted(stepping))
    for name in NAMES:
        while not jobs[name].is_done:
            if name not in fused.jobs:
                fused.join(jobs[name])
            fused.step([name])
        assert furthest(jobs[name], alone[name]) <= 1e-12


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_differs_by_rounding_alone(layout: Layout) -> None:
    fused = trainer(layout, torch.float32)
    for name in NAMES:
        fused.join(job(fused.base.model, name, 0.1))
    for _ in range(STEPS):
        fused.step()
    for name in NAMES:
        assert furthest(fused.jobs[name], solo(name, 0.1, dtype=torch.float32)) <= 1e-4


@pytest.mark.parametrize(
    ("model_type", "dtype", "tolerance"),
    [
        ("qwen2", torch.float64, 1e-12),
        ("mistral", torch.float64, 1e-12),
        ("gemma3_text", torch.float64, 1e-12),
        ("phi3", torch.float64, 1e-12),
        ("mixtral", torch.float32, 1e-5),  # experts are not multiplied in float64
    ],
)
def test_packed_is_padded_for_other_architectures(
    model_type: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Sliding windows of 9 tokens among them."""
    runs = []
    for layout in LAYOUTS:
        fused = FusedTrainer(base(dtype, model_type), layout=layout)
        fused.join(job(fused.base.model, "a", 0.1))
        fused.join(job(fused.base.model, "c", 0.0))
        for _ in range(3):
            fused.step()
        runs.append(fused.jobs)
    for name in "ac":
        assert furthest(runs[0][name], runs[1][name]) <= tolerance


def test_a_job_goes_on_from_its_state(alone, dropout: float) -> None:
    first = trainer(Layout.PACKED)
    for name in NAMES:
        first.join(job(first.base.model, name, dropout))
    for _ in range(5):
        first.step()
    states = {
        name: {key: value.clone() for key, value in one.state().items()}
        for name, one in first.jobs.items()
    }
    first.step()  # lost in the crash
    second = trainer(Layout.PADDED)
    for name in NAMES:
        again = job(second.base.model, name, dropout)
        again.load(states[name])
        second.join(again)
    for _ in range(STEPS - 5):
        second.step()
    for name in NAMES:
        assert furthest(second.jobs[name], alone[name]) <= 1e-12
