"""Seeded tensors that look like weights, their fine-tunes, and the worst bytes a float can have."""

import numpy as np

from codec.lowrank.factors import Factors

FLOATS = ("BF16", "F16", "F32", "F64")


def floats(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values as words of a float dtype."""
    if dtype == "BF16":
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    numpy_dtype = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
    return values.astype(numpy_dtype).view(f"u{numpy_dtype().itemsize}")


def values(words: np.ndarray, dtype: str) -> np.ndarray:
    """What words of BF16, F16 or F32 stand for."""
    if dtype == "BF16":
        return (words.astype(np.uint32) << 16).view(np.float32)
    return words.view(np.float16 if dtype == "F16" else np.float32)


def pair(dtype: str, count: int, *, drift: float = 1.2e-4, seed: int = 0):
    """A base and its fine-tune: gaussian weights with a gaussian step."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(count) * 0.02
    return floats(base, dtype), floats(base + rng.standard_normal(count) * drift, dtype)


def awkward(dtype: str) -> np.ndarray:
    """NaNs with payloads, infinities, zeros of both signs, denormals, extremes."""
    width = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
    word = np.dtype(f"<u{width}").type
    mantissa = {"BF16": 7, "F16": 10, "F32": 23, "F64": 52}[dtype]
    top = 1 << (8 * width - 1)
    infinity = (top - 1) >> mantissa << mantissa
    special = [0, 1, infinity, infinity | 1, top - 1, (1 << mantissa) - 1, infinity - 1]
    return np.array(special + [value | top for value in special], dtype=word)


def narrow_matrices(rows: int, columns: int, rank: int, *, seed: int = 0):
    """Two matrices of any numbers of 16 bits: (rows x rank) and (rank x columns)."""
    rng = np.random.default_rng(seed)
    shapes = (rows, rank), (rank, columns)
    left, right = (rng.integers(-32768, 32768, shape).astype(np.int16) for shape in shapes)
    return left, right


def factors(rows: int, columns: int, rank: int, exponent: int, *, seed: int = 0) -> Factors:
    """Factors of any numbers."""
    return Factors.of(*narrow_matrices(rows, columns, rank, seed=seed), exponent)
