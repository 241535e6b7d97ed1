"""Whether two samples differ by more than chance: Welch's t test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance


def p_value(a: Sequence[float], b: Sequence[float]) -> float:
    """How often two samples of one population would have means as far apart as these, 0 to 1.

    Neither needs to vary as much as the other, nor to have as many values; each needs two.
    """
    apart, errors = abs(fmean(a) - fmean(b)), [variance(side) / len(side) for side in (a, b)]
    if not apart:
        return 1.0
    if not (error := sum(errors)):
        return 0.0
    # Welch-Satterthwaite: by 1/freedom the one that varies more counts more.
    freedom = 1 / sum((part / error) ** 2 / (len(side) - 1) for part, side in zip(errors, (a, b), strict=True))
    return student(apart / math.sqrt(error), freedom)


def student(t: float, freedom: float) -> float:
    """How often a variable of Student's distribution is as far from 0 as t, to either side."""
    return _beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (Abramowitz & Stegun 26.5.8)."""
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where it converges faster
        return 1 - _beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    fraction = 1.0
    for m in range(200, 0, -1):
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1 + odd / (1 + even / fraction)
    return front / a / fraction
