"""Sums of gradients in bfloat16, at the speed of memory."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

TOGETHER = 4
"""Gradients that are added at a time."""


def add_up(
    total: torch.Tensor, parts: Sequence[torch.Tensor], *, is_first: bool, divisor: int = 1
) -> None:
    """Add parts to a total in their order, and divide it; ``is_first``: it holds nothing yet.

    At most ``TOGETHER`` of one shape. torch adds a part in a narrower type by widening all of it
    into memory of its own first; in float32 and bfloat16 that is not done here.
    """
    if total.dtype != torch.float32 or any(part.dtype != torch.bfloat16 for part in parts):
        if is_first:
            total.zero_()
        for part in parts:
            total.add_(part)
    elif len(parts) == TOGETHER:
        words = (part.contiguous().view(-1).view(torch.uint16).numpy() for part in parts)
        _kernels()[0](total.view(-1).numpy(), *words, is_first, np.float32(divisor))
        return
    else:
        if is_first:
            total.copy_(parts[0])
        for part in parts[is_first:]:
            word = part.contiguous().view(-1).view(torch.uint16).numpy()
            _kernels()[1](total.view(-1).numpy(), word)
    if divisor != 1:
        total.div_(divisor)


@cache
def _kernels() -> tuple[Any, Any]:
    """Compiled when they are first needed, for this process."""
    import numba

    @numba.njit(inline="always")
    def widened(word: Any) -> Any:
        """A bfloat16 is the upper half of a float32."""
        return np.uint32(np.uint32(word) << np.uint32(16)).view(np.float32)

    @numba.njit(nogil=True)
    def add_four(total: Any, a: Any, b: Any, c: Any, d: Any, is_first: bool, divisor: Any) -> None:
        if is_first:
            for i in range(len(total)):
                two = widened(a[i]) + widened(b[i])
                total[i] = ((two + widened(c[i])) + widened(d[i])) / divisor
        else:
            for i in range(len(total)):
                two = (total[i] + widened(a[i])) + widened(b[i])
                total[i] = ((two + widened(c[i])) + widened(d[i])) / divisor

    @numba.njit(nogil=True)
    def add_one(total: Any, a: Any) -> None:
        for i in range(len(total)):
            total[i] += widened(a[i])

    return add_four, add_one
