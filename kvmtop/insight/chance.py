"""Whether two samples differ by more than chance: Student's t test, of samples in which neighbours are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean


def p_value(a: Sequence[float], b: Sequence[float]) -> float:
    """How often two samples of one population would have means at least as far apart as these, 0 to 1.

    Each needs two values, in the order of time. Variances are pooled: where nothing has changed, they are the same.
    """
    freedom, apart = len(a) + len(b) - 2, abs(fmean(a) - fmean(b))
    away = [[one - fmean(side) for one in side] for side in (a, b)]
    squares = sum(one * one for side in away for one in side)
    if not apart or not squares:
        return float(not apart)
    pooled = squares / freedom * _alike(away, squares)
    return student(apart / math.sqrt(pooled * (1 / len(a) + 1 / len(b))), freedom)


def _alike(away: Sequence[Sequence[float]], squares: float) -> float:
    """By how much means vary more where bursts last longer than a piece, as if neighbours went by AR(1): a factor.

    away: from their mean, in the order of time. A few values look less alike than they are (Marriott and Pope,
    Biometrika 41, 1954, p. 390); half a standard error on top keeps what is found by chance below 1 %.
    """
    few, values = min(map(len, away)), sum(map(len, away))
    seen = sum(one * other for side in away for one, other in pairwise(side)) / squares
    alike = min(max(seen + (1 + 3 * max(seen, 0)) / few + 0.5 / math.sqrt(values), 0), 0.95)
    more = 1 + 2 * sum((1 - n / few) * alike**n for n in range(1, few))
    return more / max(1 - (more - 1) / (few - 1), 0.1)  # and their own variance looks smaller than it is


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
