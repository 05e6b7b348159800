"""Code tables of SPARSE from all changes of a content, or those in samples, and what they cost.

Classes are cut where the share of changed words differs: with a share p in n words of a class, the
places of its changes cost n times the binary entropy of p, and cutting pays by what that saves.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Buffer, Bytes, byte_view
from codec.elements.dtypes import Layout, dtype_of, layout_of
from codec.elements.sampling import sample_runs
from codec.limits import BLOCK_NBYTES
from codec.sparse.block import Changes, fold_of, words_of
from codec.sparse.tables import (
    CONTEXTS,
    ESCAPE,
    GAP_BITS,
    LIMIT_BITS,
    SYMBOLS,
    SparseTables,
    extra_bits,
)
from codec.steps import SLOTS, STEPS

Counts = NDArray[np.float64]

_CLASSES: Final = 4
"""More save little: most of what classes can save comes with the first few."""
_BINS: Final = 128
_CLASS_BITS: Final = 400.0
_CLASS_SHARE: Final = 0.01
"""What a class costs in tables, and must save of all the places."""
_FEW: Final = 48
"""Changes below which no class pays."""
_TABLE_BITS, _SYMBOL_BITS = 40.0, 5.0
"""What a further table adds, and every symbol in it."""
_RARE: Final = 0.3
"""Symbols that would fill less than this share of a slot are left to the escape."""
_SEEN_RUNS, _SEEN_LENGTH = 8, 512
"""Sample of a block from which the sizes of classes are told."""
LEAST_BLOCK_NBYTES: Final = 7.0
"""The form of a block, and what is wasted in two states."""
_HEAVY_SHARE: Final = 0.66
"""Of blocks that changed too much to be sparse, as if they were coded alone."""

Pairs = Callable[[], Iterable[tuple[Bytes, Bytes]]]
"""Hands out, as often as it is called, target and base bytes of one length, block by block."""


@dataclass(slots=True, eq=False)
class Census:
    """All changes of some pairs: their symbols, and the tables made for them."""

    tables: SparseTables
    width: int
    gaps: Counts
    """Symbols by class and context."""
    numbers: Counts
    """Symbols by class."""
    blocks: list[int] = field(default_factory=list)
    """How many changes each block has; half its words if they are more."""
    heavy_nbytes: int = 0
    """Length of the blocks of which more than half changed, whose symbols are not counted."""

    @property
    def stored(self) -> bytes:
        """The tables as they are stored."""
        return self.tables.store()

    def nbytes(self) -> float:
        """Length of all blocks of the pairs, without index entries and left-over bytes."""
        classes = self.tables.classes
        bits = 0.0
        rows = self.tables.rows.reshape(classes, CONTEXTS + 1)
        for k in range(classes):
            for context in range(CONTEXTS):
                if self.gaps[k, context].any():
                    row = self.tables.frequencies[rows[k, context]]
                    bits += _bits(self.gaps[k, context], row, GAP_BITS)
            row = self.tables.frequencies[rows[k, CONTEXTS]]
            bits += _bits(self.numbers[k], row, 8 * self.width)
        full = [count for count in self.blocks if count]
        per_class = sum(5 + np.log2(max(count / classes, 1.0)) for count in full) * classes
        sparse = (bits + per_class) / 8 + (LEAST_BLOCK_NBYTES - 1) * len(full) + len(self.blocks)
        return sparse + _HEAVY_SHARE * self.heavy_nbytes


def census(pairs: Pairs, layout: Layout, weight: float = 1.0) -> Census:
    """Tables for the changes of some pairs, which stand for ``weight`` times as many."""
    limits = _limits(pairs, layout, weight)
    blank = SparseTables(limits, np.zeros(1, np.int64), np.zeros((1, 1), np.uint16))
    found = Census(
        blank,
        layout.width,
        np.zeros((len(limits) + 1, CONTEXTS, SYMBOLS)),
        np.zeros((len(limits) + 1, SYMBOLS)),
    )
    word_limits = blank.word_limits(layout.width)
    for target, base in pairs():
        _tally(found, target, base, layout, word_limits)
    found.tables = _tables(limits, found.gaps, found.numbers, weight)
    return found


def train_sparse(
    pairs: Iterable[tuple[Buffer, Buffer]], *, dtype: str, raw_nbytes: int | None = None
) -> bytes:
    """Tables for SPARSE from pairs of target and base bytes of one length; see FrameEncoder.

    ``raw_nbytes`` is the length of the whole content if the pairs are a sample of it. Raises
    ValueError for pairs of unequal length.
    """
    views = [(byte_view(target), byte_view(base)) for target, base in pairs]
    if any(target.size != base.size for target, base in views):
        raise ValueError("target and base of a pair differ in length")
    seen = sum(target.size for target, _ in views)
    weight = 1.0 if raw_nbytes is None or not seen else max(1.0, raw_nbytes / seen)
    blocks = [
        (target[start : start + BLOCK_NBYTES], base[start : start + BLOCK_NBYTES])
        for target, base in views
        for start in range(0, target.size, BLOCK_NBYTES)
    ]
    return census(lambda: blocks, layout_of(dtype_of(dtype)), weight).stored


def _tally(
    found: Census, target: Bytes, base: Bytes, layout: Layout, limits: NDArray[np.uint64]
) -> None:
    """Add the changes of a block, unless they are too many for it to be sparse."""
    from codec.sparse import rans

    whole = target.size - target.size % layout.width
    words = words_of(target[:whole], layout), words_of(base[:whole], layout)
    changes = Changes.of(*words, limits, fold_of(layout))
    if changes is None:
        found.blocks.append(words[0].size // 2)
        found.heavy_nbytes += target.size
        return
    found.blocks.append(changes.total)
    if changes.total:
        gaps = np.zeros(found.gaps.size, np.int64)
        numbers = np.zeros(found.numbers.size, np.int64)
        rans.tally(
            *(changes.gaps, changes.numbers, changes.contexts, changes.bounds, gaps, numbers)
        )
        found.gaps += gaps.reshape(found.gaps.shape)
        found.numbers += numbers.reshape(found.numbers.shape)


def _limits(pairs: Pairs, layout: Layout, weight: float) -> tuple[int, ...]:
    """Where to cut magnitudes into classes: what saves most of the places' entropy."""
    from codec.sparse import kernels

    width, bits = layout.width, _bin_bits(layout)
    shift = 8 * width - 1 - bits
    changed, totals = np.zeros(1 << bits, np.int64), np.zeros(1 << bits, np.float64)
    seen = 0
    for target, base in pairs():
        count = target.size // width
        words = words_of(target[: count * width], layout), words_of(base[: count * width], layout)
        of_block = np.zeros_like(changed)
        kernels.survey(*words, shift, of_block)
        if of_block.sum() > count // 2:
            continue
        changed += of_block
        seen += count
        for start, stop in sample_runs(count, _SEEN_RUNS, _SEEN_LENGTH):
            totals += np.bincount(magnitudes(words[1][start:stop], layout), minlength=totals.size)
    if changed.sum() * weight < _FEW:
        return ()
    totals *= seen / totals.sum()
    cuts = best_cuts(changed.astype(np.float64), np.maximum(totals, changed), weight)
    return tuple(int(cut) << (LIMIT_BITS - bits) for cut in cuts)


def magnitudes(words: NDArray[Any], layout: Layout) -> NDArray[np.int64]:
    """The bins of words, by the upper bits of their magnitude; classes are cut between bins."""
    bits = _bin_bits(layout)
    shifted = words >> (8 * layout.width - 1 - bits)
    return (shifted & ((1 << bits) - 1)).astype(np.int64)


def _bin_bits(layout: Layout) -> int:
    return 11 if layout.width == 8 else min(8, 8 * layout.width - 1)


def best_cuts(changed: Counts, totals: Counts, weight: float) -> list[int]:
    """Bins at which a new class begins, by dynamic programming over all of them."""
    shares = changed / changed.sum() + totals / totals.sum()
    quantiles = np.searchsorted(np.cumsum(shares), np.arange(1, _BINS) * (2 / _BINS)) + 1
    edges = np.unique(np.concatenate([[0], quantiles, [changed.size]]))
    k = np.concatenate([[0.0], np.cumsum(changed)])[edges]
    n = np.concatenate([[0.0], np.cumsum(totals)])[edges]
    costs = entropy(k[None, :] - k[:, None], n[None, :] - n[:, None]) * weight
    costs[np.tril_indices(edges.size)] = np.inf
    least = costs[0]
    price = max(_CLASS_BITS, _CLASS_SHARE * float(least[-1]))
    origins: list[NDArray[np.int64]] = []
    best, cuts = float(least[-1]), list[int]()
    for _ in range(_CLASSES - 1):
        joined = least[:, None] + costs
        origins.append(np.argmin(joined, axis=0))
        least = joined.min(axis=0)
        if best - least[-1] < price:
            break
        best, at, cuts = float(least[-1]), edges.size - 1, []
        for origin in reversed(origins):
            at = int(origin[at])
            cuts.insert(0, int(edges[at]))
    return cuts


def entropy(changed: Counts, totals: Counts) -> Counts:
    """Bits that tell which of all words changed."""
    same = totals - changed
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = changed * np.log2(totals / changed), same * np.log2(totals / same)
    return sum((np.where(np.isfinite(part), part, 0.0) for part in bits), np.zeros_like(totals))


def _tables(limits: tuple[int, ...], gaps: Counts, numbers: Counts, weight: float) -> SparseTables:
    rows: list[int] = []
    frequencies: list[NDArray[np.uint16]] = []
    for by_context, all_numbers in zip(gaps, numbers, strict=True):
        for length, counts in _clusters(by_context, weight):
            rows += [len(frequencies)] * length
            frequencies.append(_frequencies(counts))
        rows.append(len(frequencies))
        frequencies.append(_frequencies(all_numbers))
    return SparseTables(limits, np.array(rows, np.int64), np.stack(frequencies))


def _clusters(by_context: Counts, weight: float) -> list[tuple[int, Counts]]:
    """Neighbouring contexts merged while that saves more table than it costs in code."""
    clusters: list[tuple[int, Counts]] = []
    for row in by_context:
        if clusters and not (row.any() and clusters[-1][1].any()):
            length, counts = clusters.pop()
            clusters.append((length + 1, counts + row))
        else:
            clusters.append((1, row))
    while len(clusters) > 1:
        alone = [_cost(counts, weight) for _, counts in clusters]
        joint = [_cost(a[1] + b[1], weight) for a, b in pairwise(clusters)]
        gains = [alone[k] + alone[k + 1] - joint[k] for k in range(len(joint))]
        k = int(np.argmax(gains))
        if gains[k] <= 0:
            break
        (length, counts), (more, others) = clusters[k : k + 2]
        clusters[k : k + 2] = [(length + more, counts + others)]
    return clusters


def _cost(row: Counts, weight: float) -> float:
    """Bits of a row's symbols and of its table."""
    used = row[row > 0]
    total = used.sum()
    code = float((used * np.log2(total / used)).sum()) if used.size else 0.0
    return code * weight + _TABLE_BITS + _SYMBOL_BITS * used.size


def _frequencies(row: Counts) -> NDArray[np.uint16]:
    """Slots of each symbol, rare ones left to the escape; each on a step but the most frequent."""
    slots = np.zeros(SYMBOLS, np.uint16)
    slots[ESCAPE] = 1
    if not row.any():
        slots[0] = SLOTS - 1
        return slots
    exact = row[:ESCAPE] * ((SLOTS - 1) / row.sum())
    rare = _RARE
    while (chosen := _quantised(exact, rare)) is None:
        rare *= 2
    slots[:ESCAPE] = chosen
    return slots


def _quantised(exact: Counts, rare: float) -> NDArray[np.int64] | None:
    """Slots to the nearest step or, failing that, to the step below.

    None if neither leaves the most frequent symbol the most slots.
    """
    top = int(np.argmax(exact))
    upper = np.searchsorted(STEPS, exact).clip(1, STEPS.size - 1)
    nearer = exact - STEPS[upper - 1] < STEPS[upper] - exact
    for codes in (upper - nearer, upper - (STEPS[upper] > exact)):
        slots = STEPS[codes].astype(np.int64)
        slots[(exact >= rare) & (slots == 0)] = 1
        slots[exact < rare] = 0
        slots[top] = 0
        slots[top] = SLOTS - 1 - slots.sum()
        if slots[top] == slots.max():
            return slots
    return None


def _bits(counts: Counts, row: NDArray[np.uint16], escape_bits: int) -> float:
    """What symbols take in a table, their extra bits included."""
    symbols = np.flatnonzero(counts)
    slots = row[symbols].astype(np.float64)
    escaped = slots == 0
    slots[escaped] = 1
    extra = np.where(escaped, escape_bits, extra_bits(symbols))
    return float((counts[symbols] * (np.log2(SLOTS / slots) + extra)).sum())
