"""Plain twin of ``codec.lowrank.shift_kernels``: integers that wrap, then floats of 32 bits."""

import numpy as np

from codec.lowrank.factors import Factors
from tests.codec.elements import naive as naive_casts

EXPONENTS = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000}


def sums(factors: Factors, first: int, count: int) -> np.ndarray:
    """Elements ``first`` to ``first + count`` of the product of the factors, unscaled."""
    left, right = (each.astype(np.int64) for each in factors.matrices)
    total = (left @ right).astype(np.uint32).view(np.int32)
    return total.reshape(-1)[first : first + count]


def shifted(factors: Factors, words: np.ndarray, dtype: str, first: int = 0) -> np.ndarray:
    """Words that have moved; NaNs and infinities stay."""
    step = sums(factors, first, words.size).astype(np.float32) * factors.scale
    single = naive_casts.cast(words, dtype, "F32").view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = naive_casts.cast((single + step).view(np.uint32), "F32", dtype)
    mask = words.dtype.type(EXPONENTS[dtype])
    return np.where((words & mask) == mask, words, moved)
