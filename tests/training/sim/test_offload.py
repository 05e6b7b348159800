"""The virtual clock of offloaded steps against what can be reckoned by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.optim import adding
from training.sim.offload import TOGETHER, OffloadTimes, floor_s, synchronous_s, zenflow_s

IDLE = OffloadTimes(
    step_s=1.0, adamw_s=0.0, cast_s=0.0, widen_s=0.0, fold_s=0.0, last_s=0.0, link_s=0.0, layers=4
)


@pytest.mark.parametrize("interval", [1, 4])
def test_a_host_and_a_link_that_cost_nothing_leave_the_device(interval: int) -> None:
    assert synchronous_s(IDLE) == pytest.approx(1)
    assert zenflow_s(IDLE, share=0.1, interval=interval) == pytest.approx(1)


def test_a_synchronous_step_is_computing_then_updating_then_the_last_layer_on_its_way() -> None:
    times = replace(IDLE, adamw_s=2.0, cast_s=0.4, link_s=0.4)
    last = 0.4 / times.layers
    assert synchronous_s(times) == pytest.approx(1 + last + 2.0 + (0.4 + 0.4) / times.layers)


def test_what_fits_into_a_window_is_hidden_and_what_does_not_sets_the_pace() -> None:
    hidden = replace(IDLE, adamw_s=2.5, cast_s=0.5, fold_s=0.9, last_s=0.9)
    assert zenflow_s(hidden, share=0.0, interval=4) == pytest.approx(1)
    slow = replace(hidden, adamw_s=6.0)
    assert zenflow_s(slow, share=0.0, interval=4) == pytest.approx((0.9 + 6) / 4)
    assert zenflow_s(slow, share=0.0, interval=8) == pytest.approx(1)
    slower = replace(slow, adamw_s=12.0)
    assert zenflow_s(slower, share=0.0, interval=8) == pytest.approx((2 * 0.9 + 12) / 8)


def test_additions_are_waited_for_when_they_fall_behind_by_as_many_gradients() -> None:
    busy = replace(IDLE, fold_s=3.9)
    assert zenflow_s(busy, share=0.0, interval=16) == pytest.approx(1, rel=0.02)
    late = replace(IDLE, fold_s=8.0)
    assert zenflow_s(late, share=0.0, interval=16) > 1.5


def test_more_columns_on_the_device_are_less_for_the_host() -> None:
    slow = replace(IDLE, adamw_s=8.0)
    paces = [zenflow_s(slow, share=share, interval=4) for share in (0.0, 0.1, 0.3)]
    assert paces == sorted(paces, reverse=True)
    assert len(set(paces)) == 3


seconds = st.floats(0, 10)


@given(
    parts=st.tuples(*[seconds] * 6),
    share=st.floats(0, 0.9),
    interval=st.integers(1, 12),
)
def test_no_step_is_below_its_floor(parts: tuple[float, ...], share: float, interval: int) -> None:
    adamw, cast, widen, fold, last, link = parts
    times = OffloadTimes(
        step_s=1,
        adamw_s=adamw,
        cast_s=cast,
        widen_s=widen,
        fold_s=fold,
        last_s=last,
        link_s=link,
        layers=4,
    )
    pace = zenflow_s(times, share=share, interval=interval)
    assert pace >= floor_s(times, share=share, interval=interval) * (1 - 1e-9)


def test_the_clock_adds_as_many_at_a_time_as_the_host() -> None:
    assert TOGETHER == adding.TOGETHER
