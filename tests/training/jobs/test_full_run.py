"""A full fine-tune reads its losses late, and loses nothing by it."""

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.fixtures.training import Workshop as Shop
from training.jobs import full_run
from training.jobs.checkpoint import Checkpoints
from training.jobs.full_run import FullRun
from training.jobs.origin import Origin
from training.jobs.spec import JobSpec
from training.jobs.stopping import Interrupted
from training.jobs.track import Track
from training.jobs.workshop import Workshop
from training.lora.job import Stepped
from training.lora.losses import Losses
from training.sched.early_stop import EarlyStop, Reason
from training.sched.shape import Layout

ZENFLOW = {
    "kind": "zenflow",
    "zenflow": {"topk_ratio": 0.25, "update_interval": 2, "select_interval": 4},
}
ADAMW = {"kind": "adamw"}

Weights = list[torch.Tensor]


def begun(shop: Shop, name: str, *, every: int = 1000, **spec: Any) -> tuple[FullRun, Track]:
    """A run, or what is left of it: ``name`` says where its checkpoints lie."""
    workshop = Workshop(
        Origin("base", shop.home / "base", None), dtype="auto", device="cpu", cache=shop.home
    )
    job = JobSpec(name="whole", data=shop.home / "sums.jsonl", method="full", batch_size=4, **spec)
    track = workshop.track(job, Checkpoints(shop.home / name), every)
    return FullRun(Layout.PACKED, workshop.model, track), track


def trained(run: FullRun, stop: Callable[[], bool] = lambda: False) -> Weights:
    run.run(lambda _: None, stop)
    return [parameter.detach().clone() for parameter in run.model.parameters()]


def spoil(monkeypatch: pytest.MonkeyPatch, steps: Collection[int], by: float) -> None:
    """The losses of these steps of whatever runs next, from 0 on."""
    number, of = iter(range(10**6)), Losses.of

    def spoilt(losses: Losses, *arguments: Any) -> dict[str, torch.Tensor]:
        found = of(losses, *arguments)
        return {name: each * by for name, each in found.items()} if next(number) in steps else found

    monkeypatch.setattr(Losses, "of", spoilt)


class Reads(TorchDispatchMode):
    """Counts how often a number leaves its tensor: a device is waited for then."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


def test_a_device_has_its_next_step_before_the_last_one_is_read(
    workshop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, track = begun(workshop, "run", steps=20, optimizer=ZENFLOW)
    done, step, took = list[str](), FullRun._step, Track.took

    def given(self: FullRun, number: int) -> Any:
        done.append(f"give {number}")
        with Reads() as seen:
            unread = step(self, number)
        assert bool(seen.count) == (number % 4 == 0)  # when columns are chosen
        return unread

    def read(self: Track, stepped: Stepped, *arguments: Any) -> None:
        done.append(f"read {stepped.step}")
        took(self, stepped, *arguments)

    monkeypatch.setattr(FullRun, "_step", given)
    monkeypatch.setattr(Track, "took", read)
    trained(run)
    expected = ["give 0"]
    for number in range(1, 20):
        expected += [f"give {number}", f"read {number - 1}"]
    assert done == [*expected, "read 19"]
    assert [row["step"] for row in track.curve.steps] == [*range(1, 21)]


@pytest.mark.parametrize("optimizer", [ZENFLOW, ADAMW])
def test_reading_late_changes_nothing(
    workshop: Shop, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, Any]
) -> None:
    late, one = begun(workshop, "late", steps=11, optimizer=optimizer)
    ours = trained(late)
    monkeypatch.setattr(full_run, "LATE", 0)
    at_once, other = begun(workshop, "once", steps=11, optimizer=optimizer)
    for a, b in zip(ours, trained(at_once), strict=True):
        assert torch.equal(a, b)
    assert one.curve == other.curve


@pytest.mark.parametrize("by", [torch.nan, torch.inf])
@pytest.mark.parametrize("optimizer", [ZENFLOW, ADAMW])
def test_steps_that_are_not_finite_leave_no_trace(
    workshop: Shop, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, Any], by: float
) -> None:
    run, track = begun(workshop, "run", steps=12, optimizer=optimizer)
    with monkeypatch.context() as patch:
        spoil(patch, {5, 6, 9}, by)
        ours = trained(run)
    assert track.failed is None
    skipped = [row["step"] for row in track.curve.steps if row["skipped"]]
    assert skipped == [6, 7, 10]
    assert all(each.isfinite().all() for each in ours)


@pytest.mark.parametrize("optimizer", [ZENFLOW, ADAMW])
def test_three_in_a_row_end_it_and_it_stays_ended(
    workshop: Shop, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, Any]
) -> None:
    run, track = begun(workshop, "run", steps=12, every=4, optimizer=optimizer)
    with monkeypatch.context() as patch:
        spoil(patch, range(5, 8), torch.nan)
        trained(run)
    assert track.num_steps == 8
    again, later = begun(workshop, "run", steps=12, every=4, optimizer=optimizer)
    trained(again)
    for each in (track, later):
        assert each.failed == "3 steps in a row could not be used: the loss is nan"
        assert each.num_steps == 8


def test_who_diverges_stops_after_the_same_step_wherever_it_was_interrupted(
    workshop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained_by(self: EarlyStop, loss: float) -> Reason | None:
        self.evaluations.append((len(self.evaluations), loss))
        return Reason.DIVERGED if len(self.evaluations) == 9 else None

    monkeypatch.setattr(EarlyStop, "trained", trained_by)
    wild = {"steps": 60, "optimizer": ZENFLOW}
    run, track = begun(workshop, "whole", **wild)
    expected = trained(run)
    assert (track.stopped, track.stopped_at, track.num_steps) == (Reason.DIVERGED, 9, 10)
    for steps in range(7, 10):
        name = f"cut{steps}"
        cut, partly = begun(workshop, name, **wild)
        looks = iter(range(steps + 1))
        with pytest.raises(Interrupted):
            trained(cut, lambda looks=looks, last=steps: next(looks) == last)
        assert partly.num_steps == steps
        rest, again = begun(workshop, name, **wild)
        for a, b in zip(trained(rest), expected, strict=True):
            assert torch.equal(a, b)
        assert again.curve == track.curve
