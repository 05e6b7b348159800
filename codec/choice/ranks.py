"""Whether a low-rank product makes a delta shorter, and of which rank and how fine it is to be."""

from typing import Final

import numpy as np

from codec.buffers import Bytes, Source, byte_view, read_range
from codec.choice.context_price import whole_nbytes
from codec.elements.casts import cast, cast_base, narrowed
from codec.elements.dtypes import DType, layout_of
from codec.elements.sampling import sample_runs
from codec.elements.words import Words
from codec.lowrank.factors import Factors, Shape
from codec.lowrank.shift import SHIFTED, shifted
from codec.lowrank.spectrum import DECODING_BITS, Glance, Matrix, Spectrum

_LEAST: Final = 32
"""Rows and columns below which no factors are looked for."""
_GLANCE_RUNS, _GLANCE_ROWS, _GLANCE = 32, 8, 1 << 22
"""Stretches of rows looked at first: few, since each may be fetched from far away. At most so many
elements, and no matrix of which 32 rows have more."""
_WORTHWHILE: Final = 0.95
"""Share of the length without factors that is worth decoding a product for: that takes up to twice
as long."""
_HOPE: Final = 0.97
"""By the spectrum of some rows, which knows what noise takes, but not what the codec does."""
_LIKELY: Final = 3
"""Ranks that are tried."""
_SAMPLES: Final = 8
_SAMPLE: Final = 1 << 15
"""Elements of a sample, and how many are taken."""
_TOO_LARGE: Final = 1e12
_FINENESS: Final = (1.0, 1 / 4, 1 / 16, 1 / 64)


def choose_factors(
    target: Source,
    base: Source,
    *,
    words: Words,
    columns: int,
    raw_nbytes: int,
    base_nbytes: int,
) -> Factors | None:
    """The factors that make the shortest delta of ``target``, a matrix of so many columns.

    Target and base are buffers of these lengths, or a ``read(start, stop)`` over them; rows that
    only one of them has are left out. None where factors do not pay, which for most contents a
    glance tells. Raises NotNarrow if the target's words are not as narrow as ``words`` says.
    """
    if words.coded not in SHIFTED or not words.base:
        return None
    update = _Update(target, base, words, columns)
    rows = words.common_nbytes(raw_nbytes, base_nbytes) // update.width // max(columns, 1)
    if min(rows, columns) < _LEAST or columns * _GLANCE_RUNS > _GLANCE:
        return None
    elements = rows * columns
    samples = update.samples(elements)
    plain = update.price(samples, None, elements)
    runs = sample_runs(rows, _GLANCE_RUNS, min(_GLANCE_ROWS, _GLANCE // _GLANCE_RUNS // columns))
    glance = Glance.of(np.concatenate([update.rows(*run) for run in runs]), rows)
    if max(glance.saved.values(), default=0.0) * elements / 8 < (1 - _HOPE) * plain:
        return None
    spectrum = Spectrum.of(update.rows, rows, glance)
    words_told = raw_nbytes // update.width
    total_rows = -(-words_told // columns)
    best: tuple[float, Factors | None] = (_WORTHWHILE * plain, None)
    for rank in spectrum.likely(_LIKELY):
        if not Shape(total_rows, columns, rank).is_bounded(words_told):
            continue
        before = float("inf")
        for fineness in _FINENESS:
            factors = spectrum.factors(rank, fineness, total_rows)
            length = update.price(samples, factors, elements) + len(factors.stored)
            length += elements * rank * DECODING_BITS / 8
            if length < best[0]:
                best = length, factors
            if length >= before:
                break
            before = length
    return best[1]


class _Update:
    """How far the rows of a content are from those of its base."""

    def __init__(self, target: Source, base: Source, words: Words, columns: int) -> None:
        self._target, self._base, self._words, self._columns = target, base, words, columns
        self.width, self._below = words.content_width, words.base_width

    def words(self, start: int, stop: int) -> tuple[Bytes, Bytes]:
        """Coded words of both from one element to another."""
        target, base = self._read(start, stop)
        # Copies: values of either are cast in the same scratch.
        return narrowed(self._words, target).copy(), cast_base(self._words, base).copy()

    def rows(self, first: int, last: int) -> Matrix:
        """Rows of the update; what is not finite, or too large to be squared and summed, is 0."""
        target, base = self._read(first * self._columns, last * self._columns)
        with np.errstate(over="ignore", invalid="ignore"):
            below = _values(cast_base(self._words, base), self._words.coded)
            moved = _values(narrowed(self._words, target), self._words.coded)
            moved -= below
            if not (moved.min() > -_TOO_LARGE and moved.max() < _TOO_LARGE):
                moved[~(np.abs(moved) < _TOO_LARGE)] = 0
        return moved.reshape(-1, self._columns)

    def _read(self, start: int, stop: int) -> tuple[Bytes, Bytes]:
        target = read_range(self._target, start * self.width, stop * self.width)
        return target, read_range(self._base, start * self._below, stop * self._below)

    def samples(self, elements: int) -> list[tuple[int, Bytes, Bytes]]:
        """Number of the first element, and coded words of target and base, all over the update."""
        runs = sample_runs(elements, _SAMPLES, min(_SAMPLE, elements))
        return [(start, *self.words(start, stop)) for start, stop in runs]

    def price(
        self, samples: list[tuple[int, Bytes, Bytes]], factors: Factors | None, elements: int
    ) -> float:
        """Length of the delta of all elements, as samples of it are coded."""
        coded = self._words.coded
        moved = [shifted(factors, coded, base, first).copy() for first, _, base in samples]
        target = np.concatenate([data for _, data, _ in samples])
        nbytes = whole_nbytes(target, np.concatenate(moved), self._words.layout)
        return nbytes * elements * self._words.layout.width / target.size


def _values(words: Bytes, dtype: DType) -> Matrix:
    """What words stand for; in doubles if they have 32 bits."""
    if dtype is DType.F32:
        return words.view(np.float32).astype(np.float64)
    room = np.empty(words.size // layout_of(dtype).width, np.float32)
    cast(words, dtype, DType.F32, byte_view(room))
    return room
