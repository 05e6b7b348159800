"""Latency models from measured steps: least squares once, and again while serving."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving.sched.latency import FittedLatency
from serving.sched.shape import StepShape

THETAS = range(50, 1001, 50)
"""Thresholds of the prefill model that are tried, tokens (arXiv 2505.23022, §4.3)."""

Vector = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class StepSample:
    """A step that was measured: what it computed and how long it took, in seconds."""

    shape: StepShape
    duration_s: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a model foretells samples: R², mean absolute error as a share, number of samples."""

    r2: float
    mape: float
    num_samples: int


class TooFewSamples(ValueError):
    """Not enough different steps were measured to fit a model."""


def fit_latency(samples: Iterable[StepSample]) -> FittedLatency:
    """Fit all coefficients: ``a b c d`` on pure decodes, ``θ φ α β`` on pure prefills.

    ``e`` is fitted on prefills behind computed tokens, ``f g`` on what mixed steps take beyond the
    others; they are 0 without any.

    Raises:
        TooFewSamples: fewer than 4 different decodes or 4 different prefills.
    """
    steps = list(samples)
    decodes = [step for step in steps if not step.shape.prefill_tokens and step.shape.num_decodes]
    prefills = [step for step in steps if step.shape.prefill_tokens and not step.shape.num_decodes]
    for what, found in (("decode", decodes), ("prefill", prefills)):
        if len({(s.shape.num_decodes, s.shape.context_tokens, s.shape.prefill_tokens)
                for s in found}) < 4:  # fmt: skip
            raise TooFewSamples(f"{len(found)} {what} steps are too few to fit 4 coefficients")
    a, b, c, d = map(float, _fit_decode(decodes))
    theta, phi, alpha, beta, e = _fit_prefill(prefills)
    apart = FittedLatency(a=a, b=b, c=c, d=d, theta=theta, phi=phi, alpha=alpha, beta=beta, e=e)
    f, g = _fit_mixed(apart, [step for step in steps if step.shape.is_mixed])
    return replace(apart, f=f, g=g)


def quality(latency: FittedLatency, samples: Iterable[StepSample]) -> Quality:
    """R² and mean absolute percentage error of a model on samples (at least one)."""
    steps = list(samples)
    true = np.array([step.duration_s for step in steps])
    told = np.array([latency.step_s(step.shape) for step in steps])
    spread = float(((true - true.mean()) ** 2).sum())
    r2 = 1 - float(((true - told) ** 2).sum()) / spread if spread else 1.0
    return Quality(r2, float((np.abs(told - true) / true).mean()), len(steps))


def _fit_decode(steps: Sequence[StepSample]) -> Vector:
    batch = np.array([step.shape.num_decodes for step in steps], float)
    length = np.array([step.shape.mean_context for step in steps], float)
    rows = np.stack([batch * length, batch, length, np.ones_like(batch)], axis=1)
    seconds = np.array([step.duration_s for step in steps])
    return _non_negative(rows, seconds)


def _fit_prefill(steps: Sequence[StepSample]) -> tuple[float, float, float, float, float]:
    tokens = np.array([step.shape.prefill_tokens for step in steps], float)
    behind = np.array([step.shape.pairs_behind for step in steps], float)
    seconds = np.array([step.duration_s for step in steps])
    line = np.stack([tokens, np.ones_like(tokens), behind], axis=1)
    rough = line @ _least_squares(line, seconds)
    keep = np.abs(rough - seconds) <= seconds  # the paper drops errors above 100 % of a plain line
    tokens, seconds, line = tokens[keep], seconds[keep], line[keep]
    best: tuple[float, tuple[float, float, float, float, float]] | None = None
    for theta in THETAS:
        flat = tokens <= theta
        if flat.sum() < 1 or (~flat).sum() < 2:
            continue
        phi = float(seconds[flat].mean())
        alpha, beta, e = _least_squares(line[~flat], seconds[~flat])
        told = np.where(flat, phi, line @ np.array([alpha, beta, e]))
        error = float((((told - seconds) / seconds) ** 2).sum())
        if best is None or error < best[0]:
            best = error, (float(theta), phi, float(alpha), float(beta), float(e))
    if best is not None:
        return best[1]
    alpha, beta, e = _least_squares(line, seconds)
    return 0.0, float(beta), float(alpha), float(beta), float(e)


def _fit_mixed(apart: FittedLatency, steps: Sequence[StepSample]) -> tuple[float, float]:
    if not steps:
        return 0.0, 0.0
    seconds = np.array([step.duration_s for step in steps])
    beyond = seconds - np.array([apart.step_s(step.shape) for step in steps])
    hidden = np.array([apart.hidden_s(step.shape) for step in steps])
    one = np.ones_like(hidden)
    f, g = _non_negative(np.stack([hidden, one], axis=1), beyond, seconds)
    if f > 1:
        f, g = 1.0, max(0.0, float(_least_squares(one[:, None], beyond - hidden, seconds)[0]))
    return float(f), float(g)


def _non_negative(rows: Vector, seconds: Vector, whole: Vector | None = None) -> Vector:
    """Coefficients below 0 are noise around 0: the fit is repeated without them."""
    kept = np.arange(rows.shape[1])
    while True:
        found = _least_squares(rows[:, kept], seconds, whole)
        if (found >= 0).all() or len(kept) == 1:
            break
        kept = np.delete(kept, found.argmin())
    coefficients = np.zeros(rows.shape[1])
    coefficients[kept] = np.maximum(found, 0)
    return coefficients


def _least_squares(rows: Vector, seconds: Vector, whole: Vector | None = None) -> Vector:
    """Relative least squares: an error of 1 % weighs the same in a short step and in a long one.

    Absolute ones, as in the paper, let the noise of the longest prompts choose ``θ``. An error is
    one of the ``whole`` step, of which ``seconds`` may be a part.
    """
    weights = 1 / (seconds if whole is None else whole)
    return np.linalg.lstsq(rows * weights[:, None], seconds * weights, rcond=None)[0]
