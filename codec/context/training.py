"""Code tables of CTX from a sample: counts of symbols in contexts, made into frequencies.

Three things keep tables short and safe: neighbouring contexts share a table where two would not
repay their bytes, symbols too rare for a slot are folded into one with a raw byte more, and every
context keeps one slot for an escape, so that whatever the sample did not show can be coded.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.buffers import Buffer, Bytes, byte_view
from codec.context.alphabet import STRIDE, Alphabet, onward, written
from codec.context.block import GROUP, gain_of, shape_of, words_of
from codec.context.slots import CONTEXTS, store_tables
from codec.elements.casts import spread
from codec.elements.dtypes import Layout, dtype_of, layout_of
from codec.elements.sampling import sample_runs
from codec.steps import SLOTS, STEPS

Counts = NDArray[np.float64]

_RARE = 0.4
"""Symbols that would fill less than this share of a slot are folded away."""
_SYMBOL_BITS = 3.5
_TABLE_BITS = 48.0
"""What a symbol and a further table add to the stored tables, roughly."""
_BUSY: Final = 1 / 32
"""A context with this share of the symbols is one whose table must be at hand."""
_STEP_OF_BUSY: Final = ((1, 1), (2, 3))
_COARSEST: Final = 4
"""What frequencies are multiples of where so many contexts are busy, and where more are."""
_RUNS, _RUN_NBYTES = 32, 1 << 17
"""The sample of a content too long to be counted whole."""


def is_contextual(dtype: str) -> bool:
    """Whether CTX can code a dtype: BF16, F16, F32, C64, and F8 with sign and mantissa."""
    return layout_of(dtype_of(dtype)).exponent > 0


def training_ranges(nbytes: int, *, dtype: str) -> list[tuple[int, int]]:
    """Byte ranges of a content, the same of its base, that suffice for :func:`train`.

    All of it up to 4 MiB, then 32 runs of 128 KiB. They begin where groups of 256 elements do:
    half a row and half the next would have another scale than either.
    """
    width = layout_of(dtype_of(dtype)).width
    runs = sample_runs(nbytes // width, _RUNS, _RUN_NBYTES // width)
    beyond = [start % GROUP for start, _ in runs]
    return [
        ((start - over) * width, (stop - over) * width)
        for (start, stop), over in zip(runs, beyond, strict=True)
    ]


def train(
    pairs: Iterable[tuple[Buffer, Buffer]], *, dtype: str, raw_nbytes: int | None = None
) -> bytes:
    """Tables for CTX from pairs of target and base bytes of one length; see FrameEncoder.

    ``raw_nbytes`` is the length of the whole content if the pairs are a sample of it: the longer
    it is, the more a detailed table is worth. Raises ValueError for a dtype that CTX cannot code
    and for pairs of unequal length.
    """
    layout = layout_of(dtype_of(dtype))
    if not is_contextual(dtype):
        raise ValueError(f"CTX does not code {dtype}")
    counts, seen = np.zeros(CONTEXTS * STRIDE, np.uint32), 0
    for target, base in pairs:
        words, below = byte_view(target), byte_view(base)
        if words.size != below.size:
            raise ValueError("target and base of a pair differ in length")
        count_symbols(words, below, layout, counts)
        seen += words.size
    weight = 1.0 if raw_nbytes is None or not seen else max(1.0, raw_nbytes / seen)
    return tables_of(counts, weight, written(layout))


def count_symbols(
    target: Bytes, base: Bytes, layout: Layout, counts: NDArray[np.uint32], group: int = GROUP
) -> Bytes:
    """Add the symbols of the whole words of a target to ``counts``; the scales of its groups.

    ``counts`` has 1,024 cells for every context (:func:`rows_of`). ``group`` is the number of
    elements that share a scale, 256 in frames.
    """
    from codec.context import kernels

    if layout.width == 1:
        target, base = spread(target, "target"), spread(base, "base")
        layout = layout.in_contexts
    count = target.size // layout.width
    whole = count * layout.width
    words = words_of(target[:whole], layout), words_of(base[:whole], layout)
    scales = np.empty(-(-count // group), np.uint8)
    kernels.count(*words, *shape_of(layout), gain_of(layout), counts, scales, group)
    return scales


def rows_of(counts: NDArray[np.uint32], alphabet: Alphabet) -> NDArray[np.uint32]:
    """Counts of the symbols of an alphabet, a row for every context."""
    return counts.reshape(CONTEXTS, STRIDE)[:, : alphabet.symbols]


def tables_of(counts: NDArray[np.uint32], weight: float, alphabet: Alphabet) -> bytes:
    """Stored tables for symbol counts that stand for ``weight`` times as many."""
    rows = rows_of(counts, alphabet).astype(np.float64)
    frequencies = np.empty(rows.shape, np.uint16)
    step = slot_step(rows)
    for contexts, row in _clusters(rows, weight):
        frequencies[contexts] = _frequencies(row, step, alphabet)
    return store_tables(frequencies)


def slot_step(rows: NDArray[Any]) -> int:
    """What all frequencies are made multiples of, for counts of symbols in contexts: 1, 2 or 4.

    Decoders then need as many fewer table entries (``slots.narrow_slots``). Eight KiB for each of
    many contexts in use would leave no room in the first cache.
    """
    busy = np.count_nonzero(rows.sum(axis=1) > _BUSY * rows.sum())
    return next((step for step, most in _STEP_OF_BUSY if busy <= most), _COARSEST)


def folds_of(frequencies: NDArray[np.uint16], alphabet: Alphabet) -> NDArray[np.uint16]:
    """For every cell the one that codes it: the first in the chain of its symbol with a slot."""
    folds = np.arange(CONTEXTS * STRIDE, dtype=np.uint16).reshape(CONTEXTS, STRIDE)
    next_symbols = onward(alphabet)
    for tier in reversed(alphabet.tiers):
        missing = frequencies[:, tier] == 0
        folds[:, tier][missing] = folds[:, next_symbols[tier]][missing]
    return folds.reshape(-1)


def _clusters(rows: Counts, weight: float) -> list[tuple[slice, Counts]]:
    """Neighbouring contexts merged while that saves more table than it costs in code."""
    clusters = [(slice(k, k + 1), row) for k, row in enumerate(rows)]
    costs = [_cost(row, weight) for row in rows]
    joint = [_cost(a[1] + b[1], weight) for a, b in pairwise(clusters)]
    while joint:
        gains = [costs[k] + costs[k + 1] - joint[k] for k in range(len(joint))]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        (first, one), (second, other) = clusters[best : best + 2]
        clusters[best : best + 2] = [(slice(first.start, second.stop), one + other)]
        costs[best : best + 2] = [joint.pop(best)]
        for k in (best - 1, best):
            if 0 <= k < len(joint):
                joint[k] = _cost(clusters[k][1] + clusters[k + 1][1], weight)
    return clusters


def _cost(row: Counts, weight: float) -> float:
    """Bits of a row's symbols and of its table."""
    used = row[row > 0]
    if not used.size:
        return _TABLE_BITS
    total = used.sum()
    code = total * np.log2(total) - (used * np.log2(used)).sum()
    return float(code * weight + _TABLE_BITS + _SYMBOL_BITS * (used * SLOTS > _RARE * total).sum())


def _frequencies(row: Counts, step: int, alphabet: Alphabet) -> NDArray[np.uint16]:
    """Slots of each symbol: rare ones folded, each on a step but the most frequent, sum 2,048.

    All are multiples of ``step``.
    """
    rare, steps = _RARE * step, STEPS[STEPS % step == 0]
    while (slots := _quantised(*_fold(row, rare, steps, alphabet), steps)) is None:
        rare *= 2
    return slots


def _quantised(folded: Counts, escape: int, steps: NDArray[np.uint16]) -> NDArray[np.uint16] | None:
    """Slots for counts, to the nearest of ``steps`` or, failing that, to the one below.

    None if neither leaves the most frequent symbol the most slots.
    """
    room = SLOTS - escape
    total = folded.sum()
    if not total:
        folded[0] = total = 1.0
    exact = folded * (room / total)
    top = int(np.argmax(exact))
    upper = np.searchsorted(steps, exact).clip(1, steps.size - 1)
    nearer = exact - steps[upper - 1] < steps[upper] - exact
    for codes in (upper - nearer, upper - (steps[upper] > exact)):
        slots = steps[codes].astype(np.int64)
        slots[(folded > 0) & (slots == 0)] = steps[1]
        slots[top] = 0
        slots[top] = room - slots.sum()
        if slots[top] == slots.max() and slots[top] > 0:
            return np.append(slots, escape).astype(np.uint16)
    return None


def _fold(
    row: Counts, rare: float, steps: NDArray[np.uint16], alphabet: Alphabet
) -> tuple[Counts, int]:
    """Counts without the rare ones, which have joined a later symbol or the last; slots of that."""
    counts = row.copy()
    limit = rare * row.sum() / SLOTS
    next_symbols = onward(alphabet)
    for tier in alphabet.tiers:
        here = counts[tier]
        lost = np.where(here < limit, here, 0.0)
        here -= lost
        counts += np.bincount(next_symbols[tier], lost, counts.size)
    share = counts[-1] / max(row.sum(), 1.0) * SLOTS
    return counts[:-1], int(steps[max(1, np.searchsorted(steps, share, side="right") - 1)])
