"""A poisoned job harms itself alone."""

import pytest
import torch

from tests.training.lora.problems import NAMES, STEPS, base, furthest, job, solo, trainer
from training.data.sample import Sample
from training.lora.attention import UnpackableModel
from training.lora.job import Failed, Stepped
from training.lora.trainer import DoesNotFit, FusedTrainer
from training.sched.shape import Layout

BAD = "b"


def all_joined(layout: Layout, dropout: float = 0.1) -> FusedTrainer:
    fused = trainer(layout)
    for name in NAMES:
        fused.join(job(fused.base.model, name, dropout))
    return fused


def run(fused: FusedTrainer) -> dict[str, list]:
    """All steps; what each job was told."""
    told = {name: [] for name in NAMES}
    jobs = dict(fused.jobs)
    for _ in range(STEPS):
        for name, outcome in fused.step().items():
            told[name].append(outcome)
    for name in NAMES:
        if name != BAD:
            assert all(isinstance(each, Stepped) and each.skipped is None for each in told[name])
            assert furthest(jobs[name], solo(name, 0.1)) <= 1e-12
    return told


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_fail_their_job_alone(layout: Layout, poison: float) -> None:
    fused = all_joined(layout)
    with torch.no_grad():
        for parameter in fused.jobs[BAD].adapter.parameters:
            parameter.fill_(poison)
    told = run(fused)[BAD]
    assert len(told) == 3
    assert told[0].skipped
    assert isinstance(told[-1], Failed)
    assert "3 steps in a row" in told[-1].reason
    assert BAD not in fused.jobs


@pytest.mark.parametrize("layout", list(Layout))
def test_a_gradient_that_is_not_finite_is_left_out_once(layout: Layout) -> None:
    fused = all_joined(layout)
    bad = fused.jobs[BAD]
    take, calls = bad.take, []

    def spoiled(loss, grads, tokens):
        calls.append(loss)
        if len(calls) == 2:
            grads = [torch.full_like(grad, float("nan")) for grad in grads]
        return take(loss, grads, tokens)

    bad.take = spoiled
    told = run(fused)[BAD]
    assert [number for number, each in enumerate(told) if each.skipped] == [1]
    assert all(parameter.isfinite().all() for parameter in bad.adapter.parameters)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_a_sequence_too_large_for_the_memory_fails_its_job_alone(layout, error) -> None:
    fused = all_joined(layout)
    limit, forward = 60, fused.base.model.forward

    def small_only(**given):
        if given["input_ids"].numel() > limit:
            raise error
        return forward(**given)

    fused.base.model.forward = small_only
    long = Sample(torch.full((limit + 5,), 3), torch.ones(limit + 5, dtype=torch.bool))
    fused.jobs[BAD].order = type(fused.jobs[BAD].order)([long], 1, seed=0)
    [outcome] = run(fused)[BAD]
    assert isinstance(outcome, Failed)
    assert "65 tokens" in outcome.reason


@pytest.mark.parametrize("layout", list(Layout))
def test_memory_that_is_short_costs_time_and_changes_nothing(layout: Layout) -> None:
    fused = all_joined(layout)
    forward, sizes = fused.base.model.forward, []

    def little(**given):
        sizes.append(given["input_ids"].numel())
        if sizes[-1] > 64:
            raise torch.OutOfMemoryError("out of memory")
        return forward(**given)

    fused.base.model.forward = little
    run(fused)
    assert max(sizes) > 64
    assert len(sizes) > STEPS


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    fused = all_joined(Layout.PADDED)

    def broken(**_given):
        raise RuntimeError("device-side assert triggered")

    fused.base.model.forward = broken
    with pytest.raises(RuntimeError, match="assert"):
        fused.step()


def test_names_are_once_each() -> None:
    fused = all_joined(Layout.PADDED)
    with pytest.raises(DoesNotFit, match="already"):
        fused.join(job(fused.base.model, "a"))


def test_attention_that_cannot_be_packed_says_so() -> None:
    fused = FusedTrainer(base(model_type="gemma2"), layout=Layout.PACKED)
    fused.join(job(fused.base.model, "a"))
    with pytest.raises(UnpackableModel, match="padded"):
        fused.step()
