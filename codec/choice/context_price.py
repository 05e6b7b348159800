"""What CTX would take, foretold from a sample: entropies in its contexts, and what comes on top."""

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.context.alphabet import STRIDE, Alphabet, raw_bits, written
from codec.context.block import GROUP, pack_context
from codec.context.slots import CONTEXTS
from codec.context.training import count_symbols, rows_of, slot_step, tables_of
from codec.elements.dtypes import Layout
from codec.steps import STEPS

_BLOCK_OVERHEAD: Final = 290
"""States and headers of a block."""
_TABLES_NBYTES: Final = 900
"""Tables of an ordinary tensor."""
_SMALLEST_GROUP: Final = 32
_TABLES_LOSS: Final = {1: 1.001, 2: 1.002, 4: 1.005}
"""Tables are made for a sample, rounded, the more the coarser, and shared between contexts."""
_WELL_KNOWN: Final = 16
"""Sampled elements for each symbol seen, from which on a context is taken at its word."""
_NATS: Final = math.log(2)


def whole_nbytes(target: Bytes, base: Bytes, layout: Layout) -> int:
    """Tables and block of a content that is sampled whole and fits a block."""
    counts = np.zeros(CONTEXTS * STRIDE, np.uint32)
    count_symbols(target, base, layout, counts)
    tables = tables_of(counts, 1.0, written(layout))
    return len(tables) + len(pack_context(layout, target, base, tables))


def sampled_nbytes(
    target: Bytes,
    base: Bytes,
    layout: Layout,
    raw_nbytes: int,
    run: int,
    *,
    blocks: int,
    closely: bool,
) -> float:
    """Tables and blocks of ``raw_nbytes`` of which target and base are sampled in runs.

    ``run`` is the number of elements of a run, ``blocks`` in how many blocks they stand;
    ``closely`` makes the tables for it, which takes some milliseconds.
    """
    counts = np.zeros(CONTEXTS * STRIDE, np.uint32)
    group = max(_SMALLEST_GROUP, min(run, GROUP))
    scales = count_symbols(target, base, layout, counts, group)
    weight = raw_nbytes / max(target.size, 1)
    alphabet = written(layout)
    rows = rows_of(counts, alphabet)
    bits = _symbol_bits(rows, alphabet) * _TABLES_LOSS[slot_step(rows)]
    scale_bits = _scale_bits(scales) * group / GROUP
    tables_nbytes = len(tables_of(counts, weight, alphabet)) if closely else _TABLES_NBYTES
    return tables_nbytes + blocks * _BLOCK_OVERHEAD + weight * (bits + scale_bits) / 8


def _symbol_bits(counts: NDArray[np.uint32], alphabet: Alphabet) -> float:
    """Bits of sampled symbols and their raw bytes, in tables made for all symbols.

    Contexts of which the sample shows little are foretold as if the symbols of a narrow range were
    equally likely: most of them are rare, and would seem shorter than they are on the whole.
    """
    starts, extra = _ranges(counts.shape[1])
    ranges = np.add.reduceat(counts, starts, axis=1)
    raws = float(counts.sum(axis=0) @ raw_bits(alphabet))
    well_known = counts.sum(axis=1) >= _WELL_KNOWN * np.count_nonzero(counts, axis=1)
    within = (ranges[~well_known] * extra).sum()
    return float(_code_bits(counts[well_known]) + _code_bits(ranges[~well_known]) + within + raws)


def _code_bits(counts: NDArray[np.uint32]) -> float:
    """Entropy of rows of counts, with what Miller and Madow add for a sample."""
    rows = counts.astype(np.float64)
    total = rows.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        code = np.where(rows > 0, rows * np.log2(total / rows), 0.0).sum()
    used = np.count_nonzero(rows) - np.count_nonzero(total)
    return float(code + used / (2 * _NATS))


@lru_cache(maxsize=2)
def _ranges(symbols: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each range of symbols begins, and the bits that tell a symbol within it."""
    edges = STEPS[STEPS < 256].astype(np.int64)
    classes = np.arange(symbols >> 8)
    starts = (classes[:, None] * 256 + edges).reshape(-1)
    lengths = np.diff(np.append(starts, symbols))
    return starts, np.log2(lengths)


def _scale_bits(scales: Bytes) -> float:
    """Bits of the scales under a Huffman code, none if all are alike."""
    counts = np.bincount(scales)
    used = counts[counts > 0].astype(np.float64)
    if used.size < 2:
        return 0.0
    return max(float(scales.size), float((used * np.log2(scales.size / used)).sum()))
