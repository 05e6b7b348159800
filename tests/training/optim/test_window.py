"""A window's sum is that of its gradients one after the other, bit for bit, however it was made."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.optim.adding import TOGETHER, add_up
from training.optim.window import Window


def gradients(count: int, seed: int, dtype: torch.dtype) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return [(torch.randn(3, 7, generator=chance) * 10).to(dtype) for _ in range(count)]


def one_after_the_other(parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    total = parts[0].to(dtype)
    for part in parts[1:]:
        total = total + part.to(dtype)
    return total


@given(
    count=st.integers(1, 14),
    seed=st.integers(0, 1000),
    looked_at=st.sets(st.integers(1, 14)),
    late=st.sets(st.integers(1, 14), max_size=2),
    rounds=st.integers(1, 3),
    kind=st.sampled_from(
        [
            (torch.bfloat16, torch.float32),
            (torch.float16, torch.float32),
            (torch.float32, torch.float32),
            (torch.float64, torch.float64),
        ]
    ),
)
def test_a_sum_is_the_same_however_it_was_made(
    count: int,
    seed: int,
    looked_at: set[int],
    late: set[int],
    rounds: int,
    kind: tuple[torch.dtype, torch.dtype],
) -> None:
    own, dtype = kind
    window, room = Window(dtype), torch.full((3, 7), torch.nan)
    for number in range(rounds):
        parts = gradients(count, seed + number, own)
        for place, part in enumerate(parts, start=1):
            if window.add(part.clone()) and place not in late:
                window.fold()
            if place in looked_at:  # by a checkpoint
                seen = window.sum()
                assert seen is not None
                assert torch.equal(seen, one_after_the_other(parts[:place], dtype))
        assert window.count == count
        total = window.take(lambda _: room)
        assert total.dtype == dtype
        assert torch.equal(total, one_after_the_other(parts, dtype))
        assert (window.count, window.sum()) == (0, None)


@given(count=st.integers(2, 12), seed=st.integers(0, 1000), data=st.data())
def test_a_window_goes_on_from_its_sum(count: int, seed: int, data: st.DataObject) -> None:
    parts, before = gradients(count, seed, torch.bfloat16), data.draw(st.integers(1, count))
    first, second = Window(torch.float32), Window(torch.float32)
    for part in parts[:before]:
        first.add(part)
    saved = first.sum()
    assert saved is not None
    second.load(saved.clone(), first.count)
    for part in parts[before:]:
        second.add(part)
    assert second.count == count
    assert torch.equal(second.take(torch.empty), one_after_the_other(parts, torch.float32))


def test_short_windows_are_summed_where_they_are_told_to() -> None:
    window, room = Window(torch.float32), torch.empty(3, 7)
    for part in gradients(TOGETHER, 0, torch.bfloat16):
        window.add(part)
    assert window.take(lambda _: room) is room


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -0.0, 1e-40, 3e38])
def test_all_numbers_of_bfloat16_are_widened_as_torch_does(special: float) -> None:
    part = torch.tensor([[special, 1.0]]).bfloat16()
    total = torch.empty(1, 2)
    add_up(total, [part] * TOGETHER, is_first=True)
    expected = one_after_the_other([part] * TOGETHER, torch.float32)
    torch.testing.assert_close(total, expected, rtol=0, atol=0, equal_nan=True)
