"""How much memory a batch will take, learnt from those that ran."""

from collections import deque
from collections.abc import Sequence
from itertools import combinations
from math import inf

import numpy as np
from numpy.typing import NDArray

from training.sched.shape import BatchShape

Vector = NDArray[np.floating]

TERMS = 6
FEW = 20
"""Samples below which the margin is wide."""
KEPT = 256
"""Samples that the fit remembers, the newest."""
EVERY = 16
"""Batches between two that are measured, once there are many, and samples between two fits."""


class MemoryModel:
    """``β0 + β1·tokens + β2·Σlength² + β3·logits + β4·targets + (1 + β5)·adapters``; β ≥ 0.

    After mLoRA's model (Ye et al., VLDB 2025, §3.4), with terms for the logits, which outweigh the
    rest in small models with large vocabularies, and for what adapters keep and take for a moment.
    Fitted to what batches really took at their peak; an error of 1 % weighs the same in small and
    in large ones.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[BatchShape, int]] = deque(maxlen=KEPT)
        self._errors: deque[float] = deque(maxlen=KEPT)
        self._coefficients: Vector | None = None
        self._since_fit = 0
        self._unmeasured = 0

    @property
    def coefficients(self) -> Sequence[float] | None:
        """β0 to β5; None before the first fit."""
        return None if self._coefficients is None else [float(b) for b in self._coefficients]

    @property
    def mape(self) -> float:
        """Mean absolute error of predictions made before the batch ran, as a share."""
        return float(np.mean(self._errors)) if self._errors else inf

    @property
    def margin(self) -> float:
        """Share that is added to predictions to be safe."""
        return 0.05 if len(self._errors) < FEW else max(0.02, 3 * self.mape, *self._errors)

    def predict(self, shape: BatchShape) -> float:
        """Bytes that a batch will take; infinite while nothing is known."""
        if self._coefficients is None:
            return inf
        return float(_features(shape) @ self._coefficients) + shape.adapters_nbytes

    def bound(self, shape: BatchShape) -> float:
        """The same with the margin."""
        return self.predict(shape) * (1 + self.margin)

    def wants(self, shape: BatchShape) -> bool:
        """Whether a batch is worth measuring, which takes time: the first, larger ones, and some.

        To be asked once for every batch.
        """
        largest = max((seen.tokens for seen, _ in self._samples), default=0)
        is_due = self._unmeasured >= EVERY or shape.tokens > largest
        wanted = is_due or len(self._samples) < 2 * FEW
        self._unmeasured = 0 if wanted else self._unmeasured + 1
        return wanted

    def observe(self, shape: BatchShape, nbytes: int) -> None:
        """Learn from a batch that ran."""
        if self._coefficients is not None:
            self._errors.append(abs(self.predict(shape) - nbytes) / nbytes)
        self._samples.append((shape, nbytes))
        self._since_fit += 1
        if len({sample for sample, _ in self._samples}) >= TERMS and (
            len(self._samples) < FEW or self._since_fit >= EVERY
        ):
            self._fit()

    def _fit(self) -> None:
        self._since_fit = 0
        rows = np.stack([_features(shape) for shape, _ in self._samples])
        own = np.array([nbytes - shape.adapters_nbytes for shape, nbytes in self._samples], float)
        total = np.array([nbytes for _, nbytes in self._samples], float)
        self._coefficients = non_negative_least_squares(rows / total[:, None], own / total)


def non_negative_least_squares(rows: Vector, wanted: Vector) -> Vector:
    """The best coefficients of which none is below 0, for a few columns.

    The solution is an ordinary one on some of the columns; all choices are tried.
    """
    count = rows.shape[1]
    best, least = np.zeros(count), float(wanted @ wanted)
    for size in range(1, count + 1):
        for chosen in map(list, combinations(range(count), size)):
            found = np.linalg.lstsq(rows[:, chosen], wanted, rcond=None)[0]
            error = float(((rows[:, chosen] @ found - wanted) ** 2).sum())
            if (found >= 0).all() and error < least:
                best, least = np.zeros(count), error
                best[chosen] = found
    return best


def _features(shape: BatchShape) -> Vector:
    terms = [1.0, shape.tokens, shape.squares, shape.logits, shape.targets, shape.adapters_nbytes]
    return np.array(terms)
