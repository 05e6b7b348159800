"""How short a delta could be: a mixture of models far too slow to decode, beside CTX and zstd.

    python -m bench.bound [--pair lm-full-3e-3] [--elements 150000] [--quick]

Every difference to the base, away from zero as in CTX16, is cut into binary decisions: is it 0, how
long, its sign, its bits from the top. Six models foretell each decision from what a decoder knows
by then, and are mixed in the logistic domain with weights that are learnt on the way (Mahoney,
"Adaptive weighing of context models", 2005). The first model is that of CTX; the others know the
mantissa and the sign of the base, how far its column, its row, its neighbours and the last sixteen
elements have moved. The mean step of every 256 elements is known to all of them and not counted, so
what is printed is rather too short. What no model knows is the noise of the training itself: no
coder removes it.
"""

import argparse
import math

import numpy as np
from numba import njit

from bench.codec_data import Pair, real_pairs
from bench.pairs import LEVELS, best_zstd_nbytes, encoded_nbytes
from bench.report import print_table
from bench.synthetic import from_bf16

GROUP = 256
TABLE = 1 << 22
MODELS = ("as CTX", "quarter octaves, sign", "column", "column and row", "neighbours", "last 16")
DECAY = 0.94
LEARNING = 0.004
_LENGTHS, _SIGNS, _UPPER, _LOWER = 0, 32, 64, 4096
"""Where the decisions of each kind begin; the mixer has weights for each."""
_MODELLED_BITS = 5
"""Of a difference so many bits below the first are foretold together, the others each alone."""


@njit
def mixed_bits(differences: np.ndarray, contexts: np.ndarray) -> float:
    """Bits of all differences; ``contexts`` has a column of numbers for every model."""
    count, models = contexts.shape
    chances = np.full((models, TABLE), np.float32(0.5))
    seen = np.zeros((models, TABLE), np.uint8)
    weights = np.full((_LOWER + 512, models), np.float32(1 / math.sqrt(models)))
    stretched, cells = np.empty(models, np.float32), np.empty(models, np.int64)
    nodes, bits = np.empty(64, np.int64), np.empty(64, np.int64)
    total = 0.0
    for i in range(count):
        for decision in range(_decide(differences[i], nodes, bits)):
            node, bit = nodes[decision], bits[decision]
            sum_ = np.float32(0)
            for model in range(models):
                cell = _cell(contexts[i, model], node)
                cells[model] = cell
                chance = chances[model, cell]
                stretched[model] = math.log(chance / (1 - chance))
                sum_ += weights[node, model] * stretched[model]
            chance = min(max(1 / (1 + math.exp(-sum_)), 1e-4), 1 - 1e-4)
            total -= math.log2(chance if bit else 1 - chance)
            for model in range(models):
                cell = cells[model]
                weights[node, model] += LEARNING * (bit - chance) * stretched[model]
                moved = chances[model, cell]
                moved += (bit - moved) / (seen[model, cell] + 1.6)
                chances[model, cell] = min(max(moved, 5e-4), 1 - 5e-4)
                seen[model, cell] = min(seen[model, cell] + 1, 250)
    return total


@njit
def _decide(difference: int, nodes: np.ndarray, bits: np.ndarray) -> int:
    """The binary decisions of a difference, and the kind of each; how many there are."""
    magnitude, length, taken = abs(difference), 0, 0
    while magnitude >> length:
        length += 1
    for k in range(length + 1):
        nodes[taken], bits[taken] = _LENGTHS + k, int(k < length)
        taken += 1
    if not length:
        return taken
    nodes[taken], bits[taken] = _SIGNS + length, int(difference < 0)
    taken += 1
    prefix = 1
    for k in range(length - 2, -1, -1):
        depth, bit = length - 2 - k, (magnitude >> k) & 1
        upper = _UPPER + (2 * length + int(difference < 0)) * 64 + prefix
        nodes[taken] = upper if depth < _MODELLED_BITS else _LOWER + 16 * length + k
        bits[taken] = bit
        prefix = (2 * prefix + bit) & 63
        taken += 1
    return taken


@njit
def _cell(context: int, node: int) -> int:
    mixed = np.uint64(context) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= np.uint64(node + 1) * np.uint64(0xD6E8FEB86659FD93)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(TABLE - 1))


def places(words: np.ndarray) -> np.ndarray:
    """Places of BF16 words in the order of their values."""
    magnitude = (words & 0x7FFF).astype(np.int64)
    return np.where(words >> 15, -magnitude - 1, magnitude)


def contexts_of(target: np.ndarray, base: np.ndarray) -> np.ndarray:
    """For every element of two matrices of BF16 words a number for every model.

    But for the mean of its group, an element is described by those before it alone.
    """
    steps = np.abs(from_bf16(target) - from_bf16(base)).astype(np.float64)
    flat, magnitude = steps.reshape(-1), np.abs(from_bf16(base.reshape(-1))).astype(np.float64)
    starts = np.arange(0, flat.size, GROUP)
    lengths = np.diff(np.append(starts, flat.size))
    group = np.repeat(np.add.reduceat(flat, starts) / lengths, lengths)
    column = np.empty_like(steps)
    mean = np.full(steps.shape[1], steps[:4].mean())
    for row in range(steps.shape[0]):
        column[row] = mean
        mean = DECAY * mean + (1 - DECAY) * steps[row]
    column = column.reshape(-1)
    before, above = np.roll(flat, 1), np.roll(flat, steps.shape[1])
    sums = np.concatenate([[0.0], np.cumsum(flat)])
    firsts = np.maximum(np.arange(flat.size) - 16, 0)
    last = (sums[:-1] - sums[firsts]) / np.maximum(np.arange(flat.size) - firsts, 1)
    exponent = ((base.reshape(-1) >> 7) & 255).astype(np.int64) - 127
    as_ctx = np.clip(exponent - np.round(_log(group)), -3, 12).astype(np.int64) + 3
    sign = (base.reshape(-1) >> 15).astype(np.int64)
    near = _octaves(before, group, 1) * 64 + _octaves(above, group, 1)
    models = [
        as_ctx,
        _octaves(magnitude, group, 4) * 2 + sign,
        _octaves(magnitude, column, 4),
        _octaves(magnitude, np.sqrt(column * group), 4),
        as_ctx * 4096 + near,
        _octaves(magnitude, last, 2),
    ]
    return np.stack(models, axis=1)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(values, 1e-30))


def _octaves(values: np.ndarray, unit: np.ndarray, parts: int) -> np.ndarray:
    """How many parts of an octave values are above or below a unit, from 0 on."""
    return np.clip(np.round((_log(values) - _log(unit)) * parts), -10 * parts, 20 * parts).astype(
        np.int64
    ) + (10 * parts)


def bound_nbytes(target: np.ndarray, base: np.ndarray, models: slice = slice(None)) -> float:
    """Bytes of a matrix of BF16 words beside its base, under a mixture of models."""
    away = np.where(base >> 15, -1, 1)
    differences = (away * (places(target) - places(base))).reshape(-1)
    contexts = np.ascontiguousarray(contexts_of(target, base)[:, models])
    return mixed_bits(differences, contexts) / 8


def measure(pair: Pair, elements: int) -> tuple[float, ...]:
    """Of a matrix: raw bytes; best zstd, CTX, its model alone without tables, all models."""
    rows, width = pair.shape
    taken = min(rows, max(1, elements // width)) * width
    cut = Pair("BF16", pair.target[: 2 * taken], pair.base[: 2 * taken])
    target, base = (part.reshape(-1, width) for part in cut.words())
    return (
        2.0 * taken,
        min(best_zstd_nbytes(cut, LEVELS), encoded_nbytes(cut, "BITX")),
        encoded_nbytes(cut, "CTX"),
        bound_nbytes(target, base, slice(1)),
        bound_nbytes(target, base),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="lm-full-3e-3", help="a real pair in BF16")
    parser.add_argument("--elements", type=int, help="at most, of each matrix (all; quick: 20,000)")
    parser.add_argument("--quick", action="store_true", help="the first rows of each matrix")
    arguments = parser.parse_args()
    elements = arguments.elements or (20_000 if arguments.quick else 1 << 40)
    found = [each for each in real_pairs() if each.name == arguments.pair and each.dtype == "BF16"]
    if not found:
        parser.error(f"no such pair: {arguments.pair}")
    matrices = [pair for pair in found[0].pairs if len(pair.shape) == 2]
    columns = [measure(pair, elements) for pair in matrices]
    raw, zstd, *lengths = (sum(column) for column in zip(*columns, strict=True))
    rows = [["best zstd on XOR planes", f"{zstd / raw:.4f}", "1.000"]]
    names = ["CTX", "the model of CTX, learnt on the way", f"all {len(MODELS)} models mixed"]
    for name, nbytes in zip(names, lengths, strict=True):
        rows.append([name, f"{nbytes / raw:.4f}", f"{nbytes / zstd:.3f}"])
    print_table(
        f"{arguments.pair}: {len(matrices)} matrices, {raw / 1e6:.1f} MB",
        ["coder", "size", "/ best zstd"],
        rows,
    )


if __name__ == "__main__":
    main()
