"""Rows that change hands go on as if they had stayed."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.optim.adamw import AdamwRows, Rates, hand_over

BETAS = (0.9, 0.99)
RATES = Rates(lr=1e-2, betas=BETAS, eps=1e-8, weight_decay=0.1)


def after(updates: int, seed: int) -> AdamwRows:
    chance = torch.Generator().manual_seed(seed)
    rows = AdamwRows(torch.randn(5, 3, generator=chance, dtype=torch.float64))
    for _ in range(updates):
        rows.update(torch.randn(5, 3, generator=chance, dtype=torch.float64), RATES)
    return rows


def corrected(rows: AdamwRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments as a step of AdamW uses them."""
    count = rows.count
    return rows.mean / (1 - BETAS[0] ** count), rows.square / (1 - BETAS[1] ** count)


@given(mine=st.integers(1, 40), theirs=st.integers(0, 40), seed=st.integers(0, 99))
def test_corrected_moments_and_values_are_kept(mine: int, theirs: int, seed: int):
    source, target = after(mine, seed), after(theirs, seed + 1)
    untouched = target.values[0].clone()
    hand_over(source, torch.tensor([1, 4]), target, torch.tensor([2, 3]), BETAS)
    assert torch.equal(target.values[[2, 3]], source.values[[1, 4]])
    for moved, kept in zip(corrected(target), corrected(source), strict=True):
        torch.testing.assert_close(moved[[2, 3]], kept[[1, 4]])
    assert torch.equal(target.values[0], untouched)
    assert target.count == (theirs or mine)


def test_update_is_torchs_adamw():
    rows = after(0, 3)
    weight = torch.nn.Parameter(rows.values.clone())
    adamw = torch.optim.AdamW([weight], lr=1e-2, betas=BETAS, weight_decay=0.1, fused=True)
    for seed in range(5):
        grads = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).double()
        weight.grad = grads.clone()
        adamw.step()
        rows.update(grads, RATES)
    assert torch.equal(rows.values, weight.detach())


def test_no_rows_are_no_work():
    rows = AdamwRows(torch.zeros(0, 3))
    rows.update(torch.zeros(0, 3), RATES)
    assert rows.count == 0
