"""What a loss may come to by the end of a run, at least, as far as its evaluations can tell."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Evaluations = Sequence[tuple[int, float]]
"""Step (from 1 on) and validation loss."""
Vector = NDArray[np.floating]

POWERS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.2, 1.6, 2.0)
RISING_POWERS = (0.5, 1.0)
"""Of curves that do not get flatter by much, or not at all."""
DECAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of exponentials, as shares of the run."""
FEWEST = 8
"""Evaluations that curves are fitted to."""
UNIT = NormalDist()


@dataclass(frozen=True, slots=True)
class _Fit:
    """Where one curve ends: mean and deviation of what is believed, and how well it fits."""

    end: float
    error: float
    log_evidence: float


def least_by_curves(evaluations: Evaluations, total_steps: int, confidence: float) -> float:
    """The loss at the end is above this with that confidence, if its curve is one that we know.

    Power laws, a logarithm, exponentials and a line, each ``a + b g(step)`` with ``b >= 0``, are
    averaged by their evidence (Bayesian linear regression with flat priors; ensembles of curves are
    extrapolated so by Domhan et al., IJCAI 2015). Told twice, from all evaluations and from the
    later half, for how a run began may be no sign of how it ends: the more hopeful one counts.
    """
    least = _least(evaluations, total_steps, confidence)
    later = evaluations[-max(FEWEST - 2, len(evaluations) // 2) :]
    return min(least, _least(later, total_steps, confidence))


def least_by_line(evaluations: Evaluations, total_steps: int, confidence: float) -> float:
    """The same if the loss went on as fast as it has of late: a loss that gets flatter ends above.

    At least five evaluations.
    """
    steps, losses = _vectors(evaluations)
    free = len(steps) - 2
    away = steps - steps.mean()
    slope = float(away @ losses) / float(away @ away)
    left = losses - losses.mean() - slope * away
    ahead = total_steps - steps.mean()
    spread = 1 / len(steps) + ahead**2 / float(away @ away)
    error = math.sqrt(float(left @ left) / free * _widening(free) * spread)
    return float(losses.mean() + slope * ahead) - UNIT.inv_cdf(confidence) * error


def _least(evaluations: Evaluations, total_steps: int, confidence: float) -> float:
    """A quantile of the mixture, by bisection."""
    steps, losses = _vectors(evaluations)
    fits = [_fit(curve, losses) for curve in _curves(steps / total_steps)]
    best = max(fit.log_evidence for fit in fits)
    weights = [math.exp(fit.log_evidence - best) for fit in fits]
    low = min(fit.end - 8 * fit.error for fit in fits)
    high = max(fit.end + 8 * fit.error for fit in fits)
    for _ in range(40):
        middle = (low + high) / 2
        below = sum(
            weight * UNIT.cdf((middle - fit.end) / fit.error)
            for weight, fit in zip(weights, fits, strict=True)
        )
        low, high = (middle, high) if below < (1 - confidence) * sum(weights) else (low, middle)
    return low


def _curves(shares: Vector) -> Iterator[Vector]:
    """Each from 1 at the first evaluation down to 0 at the end of the run, where share is 1."""
    for power in POWERS:
        yield _scaled(shares**-power, 1.0)
    for power in RISING_POWERS:
        yield _scaled(-(shares**power), -1.0)
    yield _scaled(-np.log(shares), 0.0)
    for decay in DECAYS:
        yield _scaled(np.exp(-shares / decay), math.exp(-1 / decay))


def _scaled(curve: Vector, end: float) -> Vector:
    return (curve - end) / (curve[0] - end)


def _fit(curve: Vector, losses: Vector) -> _Fit:
    """``a + b curve``: a is where it ends. A curve that would rise is held level."""
    rows = np.stack([np.ones_like(curve), curve], axis=1)
    products = rows.T @ rows
    inverse = np.linalg.inv(products)
    end, fall = inverse @ (rows.T @ losses)
    free, spread = len(losses) - 2, float(inverse[0, 0])
    if fall < 0:
        end, fall, free, spread = losses.mean(), 0.0, free + 1, 1 / len(losses)
    left = losses - end - fall * curve
    squares = float(left @ left) + 1e-9 * float(losses @ losses)
    evidence = -0.5 * math.log(np.linalg.det(products)) - (len(losses) - 2) / 2 * math.log(squares)
    error = math.sqrt(squares / free * spread * _widening(free))
    return _Fit(float(end), error, evidence)


def _widening(free: int) -> float:
    """The variance of Student's distribution, which a normal one stands in for."""
    return free / (free - 2)


def _vectors(evaluations: Evaluations) -> tuple[Vector, Vector]:
    steps, losses = zip(*evaluations, strict=True)
    return np.array(steps, float), np.array(losses, float)
