"""What a delta takes where little changed: from all changes if they can be seen, else a sample.

A sample of N words of which a share p changed shows N·p changes, give or take the root of that: of
65,536 words at 0.1 % some 65, so 12 %. Looking for the changes in all words is as quick as reading
them, and leaves nothing to chance. What BITX and CTX make of them is told by coding a few blocks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Bytes
from codec.elements.dtypes import Layout
from codec.frames.blocks import pack_block
from codec.frames.head import Method
from codec.limits import BLOCK_NBYTES
from codec.sparse.block import Changes, fold_of, pack_sparse, words_of
from codec.sparse.tables import CONTEXTS as GAP_CONTEXTS
from codec.sparse.tables import SYMBOLS, extra_bits
from codec.sparse.training import (
    LEAST_BLOCK_NBYTES,
    Pairs,
    best_cuts,
    census,
    entropy,
    magnitudes,
)

_DENSE, _DENSE_WITHOUT_CONTEXTS = 1 / 8, 1 / 4
"""Share of changed words beyond which SPARSE is not considered: CTX, if it can, is about as short
there and several times as quick."""
_CODED_BLOCKS: Final = 8
_MUCH_SHORTER: Final = 1.1
"""Where a tenth of the words changed, SPARSE takes about three times as long to decode as CTX."""
_HOPELESS: Final = 0.6
"""Deltas of which a sample tells more than SPARSE takes by this factor are not looked at."""
_TABLES_NBYTES: Final = 60


@dataclass(frozen=True, slots=True, eq=False)
class Foretold:
    """Lengths of tables and blocks by method, and the tables that were made."""

    nbytes: dict[Method, float]
    tables: dict[Method, bytes]


def quicker(sparse_nbytes: float, context_nbytes: float) -> str:
    """SPARSE or CTX: the shorter, but CTX if that is hardly longer.

    For deltas over a base that moves: a tenth of their words differ by a rounding.
    """
    return "SPARSE" if sparse_nbytes * _MUCH_SHORTER < context_nbytes else "CTX"


def is_dense(target: Bytes, base: Bytes, layout: Layout) -> bool:
    """Whether so many words differ that SPARSE is not considered."""
    count = target.size // layout.width
    whole = count * layout.width
    words = words_of(target[:whole], layout), words_of(base[:whole], layout)
    limit = _DENSE if layout.exponent else _DENSE_WITHOUT_CONTEXTS
    return int(np.count_nonzero(words[0] != words[1])) > limit * count


def foretell_changes(
    pairs: Pairs,
    layout: Layout,
    raw_nbytes: int,
    context_tables: Callable[[], bytes],
    sampled: Mapping[Method, float] | None = None,
) -> Foretold:
    """From all blocks of a content that its base has as well, ``raw_nbytes`` in all.

    ``context_tables`` makes those of CTX. Of other methods only those are told that a sample, if
    that is given, does not find far longer than SPARSE.
    """
    found = census(pairs, layout)
    tables = {Method.SPARSE: found.stored}
    nbytes = {Method.SPARSE: len(found.stored) + found.nbytes() + raw_nbytes % layout.width}
    few = len(found.blocks) <= _CODED_BLOCKS
    rivals = [Method.BITX, Method.CTX] if layout.exponent else [Method.BITX]
    if sampled is not None:
        rivals = [each for each in rivals if sampled[each] * _HOPELESS < nbytes[Method.SPARSE]]
    if Method.CTX in rivals:
        tables[Method.CTX] = context_tables()
    if not rivals and not few:
        return Foretold(nbytes, tables)
    chosen = _typical(found.blocks)
    coded = [
        (np.array(target), np.array(base))
        for index, (target, base) in enumerate(pairs())
        if index in chosen
    ]
    if few:
        lengths = _lengths(Method.SPARSE, coded, layout, found.stored)
        nbytes[Method.SPARSE] = len(found.stored) + sum(lengths)
    counts = [found.blocks[index] for index in sorted(chosen)]
    for method in rivals:
        shared = tables.get(method, b"")
        empty = _lengths(method, [(base, base) for _, base in coded[:1]], layout, shared)
        lengths = _lengths(method, coded, layout, shared)
        nbytes[method] = len(shared) + _extended(counts, lengths, found.blocks, empty)
    return Foretold(nbytes, tables)


def _extended(counts: list[int], lengths: list[int], blocks: list[int], empty: list[int]) -> float:
    """Length of all blocks by their changes, when these numbers of changes take these lengths."""
    if not counts:
        return 0.0
    known = sorted(zip([0, *counts], [*empty, *lengths], strict=True))
    changes, taken = (np.array(column, np.float64) for column in zip(*known, strict=True))
    return float(np.interp(blocks, changes, taken).sum())


def _typical(blocks: list[int]) -> set[int]:
    """Some blocks that stand for all: those in which a share of all changes is reached."""
    if len(blocks) <= _CODED_BLOCKS:
        return set(range(len(blocks)))
    order = np.argsort(blocks, kind="stable")
    reached = np.cumsum(np.array(blocks)[order])
    shares = (np.arange(_CODED_BLOCKS) + 0.5) / _CODED_BLOCKS * reached[-1]
    return set(order[np.searchsorted(reached, shares)].tolist())


def _lengths(
    method: Method, coded: list[tuple[Bytes, Bytes]], layout: Layout, tables: bytes
) -> list[int]:
    return [len(pack_block(method, layout, target, base, tables)[1]) for target, base in coded]


def sampled_changes_nbytes(
    target: Bytes, base: Bytes, layout: Layout, raw_nbytes: int
) -> float | None:
    """SPARSE for ``raw_nbytes`` of which these are a sample; None if too much of it changed."""
    if is_dense(target, base, layout):
        return None
    if raw_nbytes - target.size < layout.width and raw_nbytes <= BLOCK_NBYTES:
        found = census(lambda: [(target, base)], layout)
        packed = pack_sparse(layout, target, base, found.stored)
        return None if packed is None else float(len(found.stored) + len(packed))
    whole = target.size - target.size % layout.width
    words, below = words_of(target[:whole], layout), words_of(base[:whole], layout)
    weight = raw_nbytes / max(target.size, 1)
    bins = magnitudes(below, layout)
    totals = np.bincount(bins).astype(np.float64)
    changed = np.bincount(bins[words != below], minlength=totals.size).astype(np.float64)
    if changed.any():
        cuts = [0, *best_cuts(changed, totals, weight)]
        changed, totals = (np.add.reduceat(counts, cuts) for counts in (changed, totals))
    bits = float(entropy(changed, totals).sum()) + _number_bits(words, below, layout)
    blocks = -(-raw_nbytes // BLOCK_NBYTES)
    return _TABLES_NBYTES + blocks * LEAST_BLOCK_NBYTES + bits * weight / 8


def _number_bits(words: NDArray[Any], below: NDArray[Any], layout: Layout) -> float:
    """Bits of the numbers of sampled changes, with what Miller and Madow add for a sample."""
    from codec.sparse import rans as sparse_rans

    changes = Changes.of(words, below, np.empty(0, np.uint64), fold_of(layout))
    if changes is None or not changes.total:
        return 0.0
    gaps, numbers = np.zeros(GAP_CONTEXTS * SYMBOLS, np.int64), np.zeros(SYMBOLS, np.int64)
    sparse_rans.tally(
        *(changes.gaps, changes.numbers, changes.contexts, changes.bounds, gaps, numbers)
    )
    used = np.flatnonzero(numbers)
    counts = numbers[used]
    code = counts * (np.log2(changes.total / counts) + extra_bits(used))
    return float(code.sum()) + (used.size - 1) / (2 * math.log(2))
