"""When a run is better stopped: it diverged, stands still, or will not gain what is asked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Reason(Enum):
    """Why a run was stopped before its end."""

    DIVERGED = "diverged"
    """The training loss has doubled and is above where it began."""
    PLATEAU = "plateau"
    """The validation loss has not improved in the last evaluations."""
    PREDICTED = "predicted"
    """The curve of the validation loss promises less until the end than is worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopOptions:
    """Which reasons count. ``min_gain``: share of the loss that is worth going on for.

    ``patience``: evaluations without it, for a plateau; steps in a row, for divergence, ten times
    as many.
    """

    reasons: frozenset[Reason] = frozenset({Reason.DIVERGED})
    min_gain: float = 0.005
    patience: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.min_gain < 1:
            raise ValueError(f"min_gain is a share between 0 and 1, not {self.min_gain}")
        if self.patience < 1:
            raise ValueError(f"patience is at least 1 evaluation, not {self.patience}")


DECAY = 0.9
"""Of the moving average of training losses."""
WARM_UP = 10
"""Steps that are watched before anything is concluded."""
FEWEST = 6
"""Evaluations that a prediction needs."""
EXPONENTS = np.linspace(0.1, 2.0, 20)


@dataclass
class EarlyStop:
    """Watches one run of ``total_steps``. Told again what was told before, it says the same."""

    options: EarlyStopOptions
    total_steps: int
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """Step (from 1 on) and validation loss."""
    _average: float | None = None
    _best: float = math.inf
    _start: float = math.inf
    _seen: int = 0
    _risen: int = 0

    def trained(self, loss: float) -> Reason | None:
        """A step's training loss; steps that were skipped are not told."""
        self._seen += 1
        average = loss if self._average is None else DECAY * self._average + (1 - DECAY) * loss
        self._average = average
        if self._seen <= WARM_UP:
            self._start = self._best = average
            return None
        self._best = min(self._best, average)
        is_high = average > 2 * self._best or average > 2 * self._start
        self._risen = self._risen + 1 if is_high and average > self._start else 0
        is_over = self._risen >= 10 * self.options.patience
        return Reason.DIVERGED if is_over and Reason.DIVERGED in self.options.reasons else None

    def evaluated(self, step: int, loss: float) -> Reason | None:
        """The validation loss after so many steps."""
        self.evaluations.append((step, loss))
        reasons = self.options.reasons
        if Reason.PLATEAU in reasons and self._stands_still():
            return Reason.PLATEAU
        if Reason.PREDICTED in reasons and len(self.evaluations) >= FEWEST:
            best = min(loss for _, loss in self.evaluations)
            if most_gain(self.evaluations, self.total_steps) < self.options.min_gain * best:
                return Reason.PREDICTED
        return None

    def _stands_still(self) -> bool:
        """Prechelt's criterion of progress: the best of the last against the best before."""
        patience = self.options.patience
        losses = [loss for _, loss in self.evaluations]
        if len(losses) <= patience:
            return False
        before = min(losses[:-patience])
        return min(losses[-patience:]) > before * (1 - self.options.min_gain)


def most_gain(evaluations: Sequence[tuple[int, float]], total_steps: int) -> float:
    """How much lower the loss may still get until the end, at most, with 95 % confidence.

    ``a + b · step^-c`` with ``b ≥ 0`` is fitted for many ``c``; of those that fit nearly as well as
    the best one (within twice its residual) the most hopeful counts, plus two standard errors.
    """
    steps = np.array([step for step, _ in evaluations], float)
    losses = np.array([loss for _, loss in evaluations])
    found: list[tuple[float, float]] = []
    for exponent in EXPONENTS:
        rows = np.stack([np.ones_like(steps), steps**-exponent], axis=1)
        a, b = np.linalg.lstsq(rows, losses, rcond=None)[0]
        b = max(float(b), 0.0)
        a = float(np.mean(losses - b * rows[:, 1]))
        error = float(np.sqrt(np.mean((rows @ np.array([a, b]) - losses) ** 2)))
        found.append((error, a + b * total_steps**-exponent))
    least = min(error for error, _ in found)
    floor = min(last for error, last in found if error <= 2 * least + 1e-12)
    return float(losses.min()) - floor + 2 * least
