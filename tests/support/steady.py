"""Made-up runs in which nothing changes but by chance: how many exits come in each second, and how long they last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmtop.insight.compare import MOST, what_changed
from kvmtop.model.exit_stats import Reason
from kvmtop.model.histogram import BUCKETS, bucket_bounds

Random = np.random.Generator
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Rates = Callable[[Random, int], Floats]  # of so many seconds, around 1

MIDDLES = np.array([sum(bucket_bounds(n)) / 2 if 0 < n < BUCKETS - 1 else 32.0 for n in range(BUCKETS)])
_ENDS = np.array([float(bucket_bounds(n)[1]) for n in range(BUCKETS)])


def log_normal(sigma: float, median: float = 20_000) -> Floats:
    """The shares of buckets; sigma: of the logarithms of durations, median in ns."""
    below = [0.5 * (1 + math.erf((end - math.log(median)) / sigma / math.sqrt(2))) for end in np.log(_ENDS)]
    return np.diff(np.array(below), prepend=0.0)


def pareto(alpha: float, least: float = 5_000) -> Floats:
    """Durations of at least so many ns, a share of (least / ns) ** alpha of them longer: below 2 of no finite variance."""
    below = np.append(1 - (least / np.maximum(_ENDS[:-1], least)) ** alpha, 1.0)
    return np.diff(below, prepend=0.0)


def poisson(random: Random, seconds: int) -> Floats:
    """No second is like another but by chance alone."""
    return np.ones(seconds)


def bursts(shape: float) -> Rates:
    """Each second has another rate: the lower shape, the heavier."""
    return lambda random, seconds: random.gamma(shape, 1 / shape, seconds)


def wandering(sigma: float, lasting: float) -> Rates:
    """The rate's logarithm wanders around its mean, which it forgets within so many seconds (Ornstein-Uhlenbeck)."""

    def rates(random: Random, seconds: int) -> Floats:
        keeps = math.exp(-1 / lasting)
        found, now = np.empty(seconds), random.normal()
        for n, step in enumerate(random.normal(size=seconds) * math.sqrt(1 - keeps * keeps)):
            found[n] = now = keeps * now + step
        return np.exp(sigma * found - sigma * sigma / 2)

    return rates


def on_and_off(on: float, off: float, least: float = 0.05) -> Rates:
    """Busy for so many seconds in the mean, then idle, which is `least` of it."""

    def rates(random: Random, seconds: int) -> Floats:
        busy, found = random.random() < on / (on + off), np.empty(seconds)
        for n in range(seconds):
            found[n] = 1.0 if busy else least
            busy = random.random() >= 1 / on if busy else random.random() < 1 / off
        return found * (on + off) / (on + least * off)

    return rates


@dataclass(frozen=True)
class Kind:
    """A reason: exits a second in the mean, how they come, how long they last, and how that wanders (None: not at all)."""

    mean: float
    comes: Rates
    lasts: Floats
    drift: Rates | None = None

    def run(self, random: Random, seconds: int, times: float = 1.0) -> Counts:
        """A histogram for each second. times: as many in the second half."""
        rates = self.mean * self.comes(random, seconds)
        rates[seconds // 2 :] *= times
        counts = random.poisson(rates)
        if not self.drift:
            return random.multinomial(counts, self.lasts)
        octaves = np.log2(self.drift(random, seconds)).round(2) * 4
        found = [np.roll(self.lasts, int(shift)) for shift in np.clip(octaves, -12, 12).round()]
        return random.multinomial(counts, np.array(found))


def reason(hist: Counts, seconds: float) -> Reason:
    """All exits of a histogram as one reason."""
    time = int(hist @ MIDDLES)
    return Reason(2, 0x7B, "io", seconds, int(hist.sum()), time, {}, time, None, None, tuple(hist.tolist()))


def verdicts(run: Sequence[Counts] | Counts) -> frozenset[str] | None:
    """What changed between the halves of a run, cut into pieces as compare.changes() does."""
    half = len(run) // 2
    sides = [np.asarray(run[:half]), np.asarray(run[half : 2 * half])]
    size = max(round(half / MOST), 1)
    number = min(half // size, MOST)
    starts = size * np.linspace(0, half // size - 1, number).astype(int)
    pieces = [[reason(side[n : n + size].sum(axis=0), size) for n in starts] for side in sides]
    return what_changed((reason(sides[0].sum(axis=0), half), reason(sides[1].sum(axis=0), half)), pieces)
