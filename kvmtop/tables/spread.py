"""A histogram as a chart shows it: the buckets in use, with marks and a labelled axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import units
from ..model.histogram import BUCKETS, bucket_of
from .rows import Ticks


@dataclass(frozen=True)
class Span:
    """Buckets from first to last, those in use with a little around them."""

    first: int
    last: int

    def mark(self, ns: float) -> int:
        """Where a duration is among them."""
        return bucket_of(ns) - self.first

    @property
    def decades(self) -> Ticks:
        """1 µs, 10 µs … as far as they are in it."""
        found = [(self.mark(10**power), units.duration(10**power)) for power in range(2, 12)]
        found = [(x, text) for x, text in found if 0 <= x <= self.last - self.first]
        return Ticks([x for x, _ in found], [text for _, text in found])


def span(*hists: npt.ArrayLike) -> Span:
    """The buckets that any of these histograms has something in."""
    seen = np.flatnonzero(np.sum(np.array(hists), axis=0))
    if not len(seen):
        return Span(12, 60)
    return Span(max(int(seen[0]) - 2, 0), min(int(seen[-1]) + 2, BUCKETS - 1))
