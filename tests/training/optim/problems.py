"""Small models and gradients that are the same for whoever asks."""

from collections.abc import Callable

import torch

LR, BETAS, EPS, DECAY = 3e-3, (0.9, 0.99), 1e-8, 0.1


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """Three matrices, biases and a norm."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(20, 24),
        torch.nn.LayerNorm(24),
        torch.nn.GELU(),
        torch.nn.Linear(24, 12),
        torch.nn.Linear(12, 6, bias=False),
    ).to(dtype)


def backward(model: torch.nn.Module, step: int) -> None:
    """Gradients of one batch, which depends on the step alone."""
    chance = torch.Generator().manual_seed(1000 + step)
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(16, 20, generator=chance).to(dtype)
    targets = torch.randn(16, 6, generator=chance).to(dtype)
    model.zero_grad()
    torch.nn.functional.mse_loss(model(inputs), targets).backward()


def train(
    model: torch.nn.Module, step: Callable[[], object], *, first: int = 0, last: int
) -> list[torch.Tensor]:
    """Steps ``first`` to ``last - 1``; the weights after them."""
    for number in range(first, last):
        backward(model, number)
        step()
    return weights(model)


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_same(left: list[torch.Tensor], right: list[torch.Tensor]) -> None:
    """Bit for bit."""
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)
