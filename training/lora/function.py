"""A frozen linear layer with the adapters of many jobs, as one differentiable operation.

For the rows ``x`` of a job: ``y = x·Wᵀ + scale · drop(x)·Aᵀ·Bᵀ`` (Hu et al., arXiv 2106.09685); the
frozen product is computed once over the rows of all jobs (BatchFusion, ASPEN, arXiv 2312.02515). No
operation mixes rows of two jobs, forwards or backwards, so that not a single bit of a job's
gradients depends on what the others hold, NaN included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

Rows = slice | torch.Tensor
"""Which rows of ``[tokens, width]``: a run, or their numbers, ascending and once each."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one job. ``kept [rows, in]``: bool, what dropout leaves; None: everything."""

    rows: Rows
    scale: float
    kept: torch.Tensor | None = None
    dropout: float = 0.0

    def drop(self, taken: torch.Tensor) -> torch.Tensor:
        """Dropout, with the others scaled up; its own derivative."""
        if self.kept is None:
            return taken
        return taken * self.kept * (1 / (1 - self.dropout))


class FusedLora(torch.autograd.Function):
    """``apply(given [..., in], weight, bias, segments, down_0, up_0, down_1, up_1, …)``.

    ``down [r, in]`` and ``up [out, r]`` of each segment in order; the weight gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        given: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        segments: Sequence[Segment],
        *sides: torch.Tensor,
    ) -> torch.Tensor:
        """Keeps the input (which the base's next layers share), ``drop(x)·Aᵀ`` and the masks."""
        out = linear(given, weight, bias)
        flat, flat_out = given.reshape(-1, given.shape[-1]), out.view(-1, out.shape[-1])
        hidden: list[torch.Tensor] = []
        for segment, down, up in zip(segments, sides[::2], sides[1::2], strict=True):
            hidden.append(segment.drop(flat[segment.rows].to(down.dtype)) @ down.T)
            _add(flat_out, segment.rows, (hidden[-1] @ up.T) * segment.scale)
        kept = [segment.kept for segment in segments]
        ctx.save_for_backward(given, weight, *sides, *hidden, *kept)
        ctx.segments = [(segment.rows, segment.scale, segment.dropout) for segment in segments]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of the input, if it is wanted, and of both sides of every segment."""
        given, weight, *saved = ctx.saved_tensors
        count = len(ctx.segments)
        sides, hidden, kept = saved[: 2 * count], saved[2 * count : 3 * count], saved[3 * count :]
        flat, flat_grad = given.reshape(-1, given.shape[-1]), grad.reshape(-1, grad.shape[-1])
        wants_given = ctx.needs_input_grad[0]
        grad_given = flat_grad @ weight if wants_given else None
        grads: list[torch.Tensor] = []
        for number, (rows, scale, dropout) in enumerate(ctx.segments):
            segment = Segment(rows, scale, kept[number], dropout)
            down, up = sides[2 * number], sides[2 * number + 1]
            grad_up = flat_grad[rows].to(up.dtype) * scale
            grad_hidden = grad_up @ up
            grads += [
                grad_hidden.T @ segment.drop(flat[rows].to(down.dtype)),
                grad_up.T @ hidden[number],
            ]
            if grad_given is not None:
                _add(grad_given, rows, segment.drop(grad_hidden @ down))
        return None if grad_given is None else grad_given.view_as(given), None, None, None, *grads


def _add(whole: torch.Tensor, rows: Rows, part: torch.Tensor) -> None:
    part = part.to(whole.dtype)
    if isinstance(rows, slice):
        whole[rows] += part
    else:
        whole.index_add_(0, rows, part)
