"""When a run is better stopped: it diverged, stands still, or will not gain what is asked."""

import math
from dataclasses import dataclass, field
from enum import Enum

from training.sched.extrapolate import FEWEST, least_by_curves, least_by_line


class Reason(Enum):
    """Why a run was stopped before its end."""

    DIVERGED = "diverged"
    """The training loss has doubled and is above where it began."""
    PLATEAU = "plateau"
    """The validation loss has not improved of late, and would not if it went on as it does."""
    PREDICTED = "predicted"
    """No curve that fits the validation loss promises to be worth it by the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopOptions:
    """Which reasons count. ``min_gain``: share of the loss that is worth going on for.

    ``patience``: evaluations without it, for a plateau, which looks at twice as many; steps in a
    row, for divergence, ten times as many. A prediction needs nine evaluations.
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
CONFIDENCE = 0.95
"""That nothing is lost by a plateau or a prediction: it is asked at every evaluation."""


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
    _unpromising: int = 0
    """Evaluations in a row by which nothing is to be gained."""

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
        """The validation loss after so many steps; one that is no number tells nothing."""
        if not math.isfinite(loss):
            return None
        self.evaluations.append((step, loss))
        reasons = self.options.reasons
        if Reason.PLATEAU in reasons and self._stands_still():
            return Reason.PLATEAU
        if Reason.PREDICTED in reasons and len(self.evaluations) >= FEWEST:
            least = least_by_curves(self.evaluations, self.total_steps, CONFIDENCE)
            self._unpromising = 0 if self._is_worth(least) else self._unpromising + 1
            return Reason.PREDICTED if self._unpromising >= 2 else None
        return None

    def _stands_still(self) -> bool:
        """The best of the last evaluations against the best before (Prechelt's progress).

        A slow fall looks like none over a few evaluations, so a line through them, and one through
        the later half of all, must not get there either.
        """
        patience = self.options.patience
        losses = [loss for _, loss in self.evaluations]
        fewest = max(2 * patience, 6)
        if len(losses) < fewest:
            return False
        if self._is_worth(min(losses[-patience:]), min(losses[:-patience])):
            return False
        lengths = {fewest, max(fewest, len(losses) // 2)}
        lines = [
            least_by_line(self.evaluations[-length:], self.total_steps, CONFIDENCE)
            for length in lengths
        ]
        return not self._is_worth(min(lines))

    def _is_worth(self, loss: float, before: float | None = None) -> bool:
        """Whether this would be enough below the best loss until now."""
        best = min(loss for _, loss in self.evaluations) if before is None else before
        return not loss > best * (1 - self.options.min_gain)
