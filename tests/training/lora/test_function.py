"""The backward pass against finite differences and against autograd over the plain formula."""

import pytest
import torch
from torch.nn.functional import linear

from training.lora.function import FusedLora, Segment

WIDTH, HEIGHT, TOKENS, RANK = 5, 4, 9, 2


def problem(dropout: float, dtype=torch.float64):
    """Three segments: a run, none at all, and rows here and there; some rows belong to nobody."""
    chance = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance, dtype=dtype)

    chosen = [slice(0, 3), slice(3, 3), torch.tensor([4, 6, 7])]
    segments = []
    for number, rows in enumerate(chosen):
        count = len(range(TOKENS)[rows]) if isinstance(rows, slice) else len(rows)
        kept = torch.rand(count, WIDTH, generator=chance) >= dropout if dropout else None
        segments.append(Segment(rows, (0.5, 2.0, 1.5)[number], kept, dropout))
    given, weight, bias = draw(1, TOKENS, WIDTH), draw(HEIGHT, WIDTH), draw(HEIGHT)
    sides = [draw(*shape) for _ in chosen for shape in ((RANK, WIDTH), (HEIGHT, RANK))]
    for tensor in (given, *sides):
        tensor.requires_grad_()
    return given, weight, bias, segments, sides


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_finite_differences(dropout: float) -> None:
    given, weight, bias, segments, sides = problem(dropout)

    def run(given, *sides):
        return FusedLora.apply(given, weight, bias, segments, *sides)

    assert torch.autograd.gradcheck(run, (given, *sides))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_it_is_the_plain_formula(dropout: float) -> None:
    given, weight, bias, segments, sides = problem(dropout)
    expected = linear(given, weight, bias)[0].clone()
    for segment, down, up in zip(segments, sides[::2], sides[1::2], strict=True):
        taken = given[0][segment.rows]
        if segment.kept is not None:
            taken = torch.where(segment.kept, taken / (1 - dropout), 0.0)
        expected[segment.rows] += segment.scale * taken @ down.T @ up.T
    out = FusedLora.apply(given, weight, bias, segments, *sides)
    torch.testing.assert_close(out[0], expected)

    chance = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    ours = torch.autograd.grad(out, (given, *sides), chance)
    theirs = torch.autograd.grad(expected[None], (given, *sides), chance)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_nan_stays_with_its_segment() -> None:
    given, weight, bias, segments, sides = problem(0.0)
    with torch.no_grad():
        sides[0].fill_(float("nan"))
    out = FusedLora.apply(given, weight, bias, segments, *sides)
    grads = torch.autograd.grad(out.sum(), (given, *sides))
    assert out[0, :3].isnan().all()
    assert out[0, 3:].isfinite().all()
    assert grads[0][0, 3:].isfinite().all()
    assert all(grad.isfinite().all() for grad in grads[3:])


def test_bf16_base_under_float32_adapters() -> None:
    given, weight, bias, segments, sides = problem(0.5, torch.float32)
    out = FusedLora.apply(given.bfloat16(), weight.bfloat16(), bias.bfloat16(), segments, *sides)
    exact = FusedLora.apply(given, weight, bias, segments, *sides)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.15)
    grads = torch.autograd.grad(out.sum(), (given, *sides))
    assert {grad.dtype for grad in grads} == {torch.float32}
