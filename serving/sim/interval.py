"""Means with confidence intervals over a few seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
         2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip
"""Student's t, two-sided 95 %, for 1 to 20 degrees of freedom; beyond, the normal's 1.96."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and half the width of its 95 % confidence interval; 0 where one value tells none."""

    mean: float
    half: float


def interval(values: Sequence[float]) -> Interval:
    """Student's interval of at least one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, 0.0)
    freedom = len(values) - 1
    quantile = _T_95[freedom - 1] if freedom <= len(_T_95) else 1.96
    return Interval(mean, quantile * statistics.stdev(values) / len(values) ** 0.5)
