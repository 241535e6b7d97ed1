"""Whether two samples differ by more than chance: Student's t test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance


def p_value(a: Sequence[float], b: Sequence[float]) -> float:
    """How often two samples of one population would have means at least as far apart as these, 0 to 1.

    Each needs two values. Their variances are pooled: where nothing has changed, they are the same.
    """
    freedom, apart = len(a) + len(b) - 2, abs(fmean(a) - fmean(b))
    pooled = sum(variance(side) * (len(side) - 1) for side in (a, b)) / freedom
    if not apart or not pooled:
        return float(not apart)
    return student(apart / math.sqrt(pooled * (1 / len(a) + 1 / len(b))), freedom)


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
