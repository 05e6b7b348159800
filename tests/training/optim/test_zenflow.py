"""ZenFlow against AdamW, against its serial twin, and against its own promises."""

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.optim.oracle import Serial
from tests.training.optim.problems import (
    BETAS,
    DECAY,
    EPS,
    LR,
    assert_same,
    backward,
    network,
    train,
    weights,
)
from training.optim import ZenFlow, ZenFlowOptions
from training.optim.host import Host
from training.optim.matrix import Matrix

ADAMW = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}


def zenflow(model: torch.nn.Module, max_grad_norm: float | None = None, **options) -> ZenFlow:
    chosen = {"topk_ratio": 0.25, "select_interval": 8} | options
    return ZenFlow(
        model.parameters(), **ADAMW, max_grad_norm=max_grad_norm, options=ZenFlowOptions(**chosen)
    )


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("warm_up", [0, 3])
def test_synchronous_windows_of_one_step_are_adamw(ratio: float, warm_up: int):
    plain, ours = network(), network()
    adamw = torch.optim.AdamW(plain.parameters(), **ADAMW, fused=True)
    optimizer = zenflow(
        ours,
        topk_ratio=ratio,
        update_interval=1,
        select_interval=3,  # columns change hands on the way
        full_warm_up_rounds=warm_up,
        overlap_step=False,
    )
    for a, b in zip(
        train(plain, adamw.step, last=20), train(ours, optimizer.step, last=20), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("interval", [1, 2, 4, 7])
def test_overlapped_run_is_its_serial_twin_bit_for_bit(interval: int):
    slow, ours = network(), network()
    oracle = Serial(slow, interval=interval, ratio=0.25)
    optimizer = zenflow(ours, update_interval=interval, select_interval=interval * 1000)
    assert_same(
        train(ours, optimizer.step, last=5 * interval + 3),
        train(slow, oracle.step, last=5 * interval + 3),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interval", [1, 4, 9])
def test_the_host_may_be_a_window_ahead_of_what_is_seen(
    monkeypatch: pytest.MonkeyPatch, interval: int, dtype: torch.dtype
):
    def run() -> list[torch.Tensor]:
        model = network(dtype=dtype)
        optimizer = zenflow(model, update_interval=interval, select_interval=2 * interval)
        found = train(model, optimizer.step, last=6 * interval + 1)
        optimizer.close()
        return found

    at_ease = run()
    finish = Host.finish

    def late(host: Host) -> list[tuple[Matrix, torch.Tensor]]:
        host.rest()
        return finish(host)

    monkeypatch.setattr(Host, "finish", late)
    assert_same(run(), at_ease)


@given(
    interval=st.integers(1, 6), step=st.integers(0, 30), every=st.integers(1, 4), late=st.booleans()
)
@settings(max_examples=40)
def test_a_gradient_takes_effect_within_twice_the_window(
    interval: int, step: int, every: int, late: bool
):
    """Everything is still until one gradient comes; then the first step that sees it is noted."""
    weight = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = ZenFlow(
        [weight],
        lr=0.1,
        weight_decay=0.0,
        options=ZenFlowOptions(
            topk_ratio=0.0,
            update_interval=interval,
            select_interval=interval * every,
            overlap_step=late,
        ),
    )
    number = 0
    while torch.equal(weight, torch.ones(3, 4)):
        assert number - step <= 2 * interval
        weight.grad = torch.full((3, 4), float(number == step))
        optimizer.step()
        number += 1
    staleness = number - step
    # A change of columns drains, so that a window may be seen before its time.
    assert 1 <= staleness <= (2 * interval if late else interval)
    if late and every == 4 and (step // interval + 2) % every not in {0, 1}:
        assert staleness >= interval + 1


@given(seed=st.integers(0, 1000), interval=st.integers(1, 4), windows=st.integers(1, 3))
@settings(max_examples=25)
def test_each_column_has_one_owner(seed: int, interval: int, windows: int):
    model = network(seed)
    optimizer = zenflow(model, update_interval=interval, select_interval=interval * windows)
    matrices: list[Matrix] = [matrix for _, matrix in optimizer._matrices]
    for step in range(3 * interval * windows + 1):
        backward(model, seed + step)
        before = [matrix.parameter.detach().clone() for matrix in matrices]
        optimizer.step()
        for matrix, old in zip(matrices, before, strict=True):
            owned = torch.cat([matrix.chosen, matrix.rest]).sort().values
            assert torch.equal(owned, torch.arange(matrix.width))
            changed = (matrix.parameter.detach() != old).any(dim=0)
            assert changed[matrix.chosen].all()
            if optimizer.window_steps > 1:
                assert not changed[matrix.rest].any()
            kept = matrix.parameter.detach().t()[matrix.chosen]
            assert torch.equal(kept, matrix.device.values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interval", [2, 5])
def test_traffic_is_what_the_paper_counts(dtype: torch.dtype, interval: int):
    weight = torch.nn.Parameter(torch.randn(8, 40).to(dtype))
    optimizer = ZenFlow(
        [weight],
        options=ZenFlowOptions(
            topk_ratio=0.1, update_interval=interval, select_interval=100 * interval
        ),
    )
    windows = 6
    for _ in range(windows * interval):
        weight.grad = torch.randn(8, 40).to(dtype)
        optimizer.step()
    optimizer.drain()
    moved = optimizer.traffic.to_host_nbytes + optimizer.traffic.to_device_nbytes
    assert moved / (windows * interval) == pytest.approx(
        (1 - 0.1) * (1 + 1 / interval) * weight.nbytes
    )


@pytest.mark.parametrize("interval", [4, 9])
def test_memory_is_what_masters_moments_and_gradients_take(interval: int):
    weight, bias = (
        torch.nn.Parameter(torch.randn(8, 40).bfloat16()),
        torch.nn.Parameter(torch.ones(8)),
    )
    optimizer = ZenFlow(
        [weight, bias],
        options=ZenFlowOptions(
            topk_ratio=0.1, update_interval=interval, select_interval=interval, overlap_step=False
        ),
    )
    for _ in range(4 * interval):
        weight.grad, bias.grad = torch.randn(8, 40).bfloat16(), torch.randn(8)
        optimizer.step()
        optimizer._host.rest()
    optimizer.close()
    rest, chosen = 36 * 8, 4 * 8
    gradients = 4 * 2 if interval == 4 else 4 + 5 * 2  # nine: the sum of the first four, the rest
    assert optimizer.memory.host_nbytes == rest * (12 + 2 * gradients)
    assert optimizer.memory.device_nbytes == chosen * 12 + rest * 2 + 8 * 12


@pytest.mark.parametrize("interrupted", range(13))
@pytest.mark.parametrize("interval", [4, "auto"])
def test_a_run_goes_on_from_any_step_bit_for_bit(interrupted: int, interval):
    options = {"update_interval": interval, "full_warm_up_rounds": 2}
    whole = network()
    expected = train(whole, zenflow(whole, **options).step, last=20)

    first = network()
    optimizer = zenflow(first, **options)
    train(first, optimizer.step, last=interrupted)
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    state = optimizer.state_dict()
    state["state"] = {name: tensor.clone() for name, tensor in state["state"].items()}
    train(first, optimizer.step, first=interrupted, last=interrupted + 3)  # lost in the crash

    second = network(seed=7)
    second.load_state_dict(saved)
    resumed = zenflow(second, **options)
    resumed.load_state_dict(state)
    assert_same(train(second, resumed.step, first=interrupted, last=20), expected)


def test_state_of_other_parameters_is_refused_and_changes_nothing():
    model = network()
    optimizer = zenflow(model)
    train(model, optimizer.step, last=3)
    other = torch.nn.Linear(5, 5)
    theirs = zenflow(other).state_dict()
    before = {name: tensor.clone() for name, tensor in optimizer.state_dict()["state"].items()}
    with pytest.raises(ValueError, match="other parameters"):
        optimizer.load_state_dict(theirs)
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_device_goes_on_while_the_host_works(monkeypatch: pytest.MonkeyPatch):
    model = network()
    optimizer = zenflow(model, update_interval=4)
    may_end, update = threading.Event(), Matrix.update_host

    def held(matrix: Matrix, *arguments: Any) -> None:
        assert may_end.wait(60)
        update(matrix, *arguments)

    monkeypatch.setattr(Matrix, "update_host", held)
    train(model, optimizer.step, last=5)  # the host has had a window since step 4
    assert optimizer._host.is_working
    may_end.set()
    train(model, optimizer.step, first=5, last=9)
    optimizer.close()


def test_what_fails_on_the_host_is_raised(monkeypatch: pytest.MonkeyPatch):
    model = network()
    optimizer = zenflow(model, update_interval=2)

    def fail(*_arguments) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Matrix, "update_host", fail)
    train(model, optimizer.step, last=3)
    with pytest.raises(MemoryError, match="no room"):
        train(model, optimizer.step, first=3, last=5)


def test_window_closes_by_itself_when_the_rest_weighs_as_much():
    weight = torch.nn.Parameter(torch.ones(2, 4))
    optimizer = ZenFlow(
        [weight],
        options=ZenFlowOptions(topk_ratio=0.25, update_interval="auto", select_interval=100),
    )
    grads = torch.tensor([[4.0, 1.0, 1.0, 1.0]]).expand(2, 4)
    closed = []
    for number in range(1, 13):
        weight.grad = grads.clone()
        optimizer.step()
        if optimizer.window_steps == 0:
            closed.append(number)
    assert closed == [4, 8, 12]  # four steps of 1 weigh as much as a 4


def test_automatic_windows_are_no_longer_than_between_two_choices():
    weight = torch.nn.Parameter(torch.ones(2, 4))
    optimizer = ZenFlow(
        [weight],
        options=ZenFlowOptions(topk_ratio=0.25, update_interval="auto", select_interval=6),
    )
    closed = []
    for number in range(1, 13):
        weight.grad = torch.tensor([[1e6, 1.0, 1.0, 1.0]]).expand(2, 4).clone()
        optimizer.step()
        if optimizer.window_steps == 0:
            closed.append(number)
    optimizer.close()
    assert closed == [6, 12]


def test_gradients_are_clipped_before_they_are_split():
    plain, ours = network(), network()
    adamw = torch.optim.AdamW(plain.parameters(), **ADAMW, fused=True)
    optimizer = zenflow(ours, max_grad_norm=0.01, update_interval=1, overlap_step=False)

    def clipped() -> None:
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
        adamw.step()

    for a, b in zip(
        train(plain, clipped, last=6), train(ours, optimizer.step, last=6), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("late", [True, False])
def test_an_open_window_takes_effect_when_it_is_flushed(late: bool):
    """As if the run had gone on with gradients that are no longer there."""
    weight = torch.nn.Parameter(torch.ones(2, 4))
    optimizer = ZenFlow(
        [weight],
        weight_decay=0.0,
        options=ZenFlowOptions(topk_ratio=0.0, update_interval=4, overlap_step=late),
    )
    for _ in range(3):
        weight.grad = torch.ones(2, 4)
        optimizer.step()
    assert torch.equal(weight, torch.ones(2, 4))
    optimizer.flush()
    plain = torch.nn.Parameter(torch.ones(2, 4))
    plain.grad = torch.ones(2, 4)
    torch.optim.AdamW([plain], weight_decay=0.0).step()
    torch.testing.assert_close(weight, plain, rtol=0, atol=1e-7)
    optimizer.flush()
    torch.testing.assert_close(weight, plain, rtol=0, atol=1e-7)
    optimizer.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interval", [1, 4, "auto"])
@pytest.mark.parametrize("bad", [{3}, {5, 6}, {8, 9, 10, 11}])
def test_a_step_that_the_device_leaves_out_is_one_without_gradients(
    bad: set[int], interval: Any, dtype: torch.dtype
):
    def run(*, leaves_out: bool) -> list[torch.Tensor]:
        model = network(dtype=dtype)
        optimizer = zenflow(model, max_grad_norm=1.0, update_interval=interval, select_interval=64)
        for number in range(14):
            backward(model, number)
            for parameter in model.parameters():
                assert parameter.grad is not None
                if number in bad:
                    parameter.grad = parameter.grad * torch.nan if leaves_out else None
            optimizer.step(found_inf=torch.tensor(float(number in bad)) if leaves_out else None)
        state = optimizer.state_dict()["state"].values()
        optimizer.flush()
        optimizer.close()
        return [*weights(model), *state]

    for ours, plain in zip(run(leaves_out=True), run(leaves_out=False), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)


def test_no_columns_are_chosen_by_what_is_not_finite():
    model = network()
    optimizer = zenflow(model, update_interval=1, select_interval=1)
    before = weights(model)
    for number in range(3):
        backward(model, number)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        optimizer.step(found_inf=torch.ones(()))
    optimizer.flush()
    assert_same(weights(model), before)
    assert all(not len(matrix.chosen) for _, matrix in optimizer._matrices)
    train(model, optimizer.step, last=1)
    assert all(len(matrix.chosen) for _, matrix in optimizer._matrices)


def test_unused_and_stacked_parameters():
    used = torch.nn.Parameter(torch.randn(4, 6))
    unused = torch.nn.Parameter(torch.randn(4, 6))
    experts = torch.nn.Parameter(torch.randn(3, 4, 6))
    optimizer = ZenFlow([used, unused, experts], options=ZenFlowOptions(update_interval=2))
    before = unused.detach().clone(), experts.detach().clone()
    for _ in range(6):
        loss = (used @ torch.ones(6)).square().sum() + experts.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.close()
    assert torch.equal(unused, before[0])
    assert (experts != before[1]).all()


def test_masters_keep_what_bf16_cannot():
    model = network(dtype=torch.bfloat16)
    optimizer = ZenFlow(
        model.parameters(),
        lr=1e-5,
        weight_decay=0,
        options=ZenFlowOptions(update_interval=2, select_interval=4),
    )
    train(model, optimizer.step, last=40)
    optimizer.close()
    for _, matrix in optimizer._matrices:
        kept = matrix.parameter.detach().t()
        assert torch.equal(kept[matrix.rest], matrix.host.values.bfloat16())
        assert (matrix.host.values != kept[matrix.rest].float()).any()


def test_learning_rate_schedules_drive_both_owners():
    model = network()
    optimizer = zenflow(model, update_interval=2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 4))
    for number in range(8):
        backward(model, number)
        optimizer.step()
        schedule.step()
    optimizer.drain()
    still = weights(model)
    for number in range(8, 14):
        backward(model, number)
        optimizer.step()
        schedule.step()
    optimizer.close()
    assert_same(weights(model), still)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"topk_ratio": 1.5}, "topk_ratio"),
        ({"update_interval": 0}, "update_interval"),
        ({"update_interval": 4, "select_interval": 2}, "at least update_interval"),
        ({"update_interval": 4, "select_interval": 6}, "multiple of update_interval"),
        ({"full_warm_up_rounds": -1}, "full_warm_up_rounds"),
        ({"auto_ratio": 0}, "auto_ratio"),
        ({"deferred_lr_scale": 0}, "deferred_lr_scale"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict, says: str):
    with pytest.raises(ValueError, match=says):
        ZenFlowOptions(**wrong)


def test_deferred_rate_follows_the_window():
    assert ZenFlowOptions(deferred_lr_scale="sqrt").window_rate(1e-3, 4) == pytest.approx(2e-3)
    assert ZenFlowOptions(deferred_lr_scale=3).window_rate(1e-3, 4) == pytest.approx(3e-3)
