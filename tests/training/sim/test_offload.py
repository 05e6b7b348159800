"""The virtual clock of offloaded steps against what can be reckoned by hand."""

from dataclasses import replace

import pytest

from training.sim.offload import OffloadTimes, synchronous_s, zenflow_s

IDLE = OffloadTimes(
    step_s=1.0, adamw_s=0.0, cast_s=0.0, widen_s=0.0, add_s=0.0, link_s=0.0, layers=4
)


@pytest.mark.parametrize("interval", [1, 4])
def test_a_host_and_a_link_that_cost_nothing_leave_the_device(interval: int) -> None:
    assert synchronous_s(IDLE) == pytest.approx(1)
    assert zenflow_s(IDLE, share=0.1, interval=interval) == pytest.approx(1)


def test_a_synchronous_step_is_computing_then_updating_then_the_last_layer_on_its_way() -> None:
    times = replace(IDLE, adamw_s=2.0, cast_s=0.4, link_s=0.4)
    last = 0.4 / times.layers
    assert synchronous_s(times) == pytest.approx(1 + last + 2.4 + last)


def test_what_fits_into_a_window_is_hidden_and_what_does_not_sets_the_pace() -> None:
    hidden = replace(IDLE, adamw_s=2.0, cast_s=0.5, widen_s=0.2, add_s=0.4)
    assert zenflow_s(hidden, share=0.0, interval=4) == pytest.approx(1)
    slow = replace(hidden, adamw_s=6.0)
    work = 6.0 + 0.5 + 0.2 + 3 * 0.4
    assert zenflow_s(slow, share=0.0, interval=4) == pytest.approx(work / 4, rel=0.05)


def test_more_columns_on_the_device_are_less_for_the_host() -> None:
    slow = replace(IDLE, adamw_s=8.0)
    paces = [zenflow_s(slow, share=share, interval=4) for share in (0.0, 0.1, 0.3)]
    assert paces == sorted(paces, reverse=True)
    assert len(set(paces)) == 3
