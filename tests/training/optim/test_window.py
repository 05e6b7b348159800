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


def mean(window: Window, room: int = 4) -> torch.Tensor:
    """From its parts, in the shape of the gradients."""
    parts = list[torch.Tensor]()
    for place, part in window.means(torch.full((room,), torch.nan)):
        assert (place.start, place.stop - place.start) == (sum(map(len, parts)), len(part))
        parts.append(part.clone())
    return torch.cat(parts).view(3, 7)


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
    room=st.integers(1, 30),
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
    room: int,
    kind: tuple[torch.dtype, torch.dtype],
) -> None:
    own, dtype = kind
    window = Window(dtype)
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
        made = mean(window, room)
        assert made.dtype == dtype
        assert torch.equal(made, one_after_the_other(parts, dtype) / count)
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
    assert torch.equal(mean(second), one_after_the_other(parts, torch.float32) / count)


def test_short_windows_are_summed_in_a_room_for_a_part_of_them() -> None:
    window, room = Window(torch.float32), torch.empty(4)
    for part in gradients(TOGETHER, 0, torch.bfloat16):
        assert not window.add(part)
    seen = [part.data_ptr() for _, part in window.means(room)]
    assert seen == [room.data_ptr()] * 6


def test_additions_are_asked_for_so_that_few_are_kept_if_each_is_done_before_the_next() -> None:
    window, asked = Window(torch.float32), list[int]()
    for number, part in enumerate(gradients(5 * TOGETHER, 0, torch.bfloat16)):
        if asked and number == asked[-1] + TOGETHER:
            window.fold()
        if window.add(part):
            asked.append(number)
        assert len(window._kept) <= 2 * TOGETHER
    assert asked == list(range(TOGETHER, 5 * TOGETHER, TOGETHER))


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -0.0, 1e-40, 3e38])
def test_all_numbers_of_bfloat16_are_widened_as_torch_does(special: float) -> None:
    part = torch.tensor([[special, 1.0]]).bfloat16()
    total = torch.empty(1, 2)
    add_up(total, [part] * TOGETHER, is_first=True)
    expected = one_after_the_other([part] * TOGETHER, torch.float32)
    torch.testing.assert_close(total, expected, rtol=0, atol=0, equal_nan=True)
