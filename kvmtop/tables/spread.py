"""A histogram as a chart shows it: the buckets in use, with marks and a labelled axis."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import units
from ..model.histogram import BUCKETS, bucket_of
from .rows import Ticks

HELD = 30  # intervals


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
        """1 µs, 10 µs … as far as they are in it; where there is hardly one, 2 µs, 5 µs … too."""
        for steps in ((1,), (1, 2, 5)):
            found = [
                (self.mark(step * 10**power), _plain(step * 10**power)) for power in range(2, 12) for step in steps
            ]
            found = [(x, text) for x, text in found if 0 <= x <= self.last - self.first]
            if len(found) > 1:
                break
        return Ticks([x for x, _ in found], [text for _, text in found])


def _plain(ns: int) -> str:
    """Of a round number nothing but its digits."""
    return re.sub(r"\.0+(?=\D)", "", units.duration(ns))


def span(*hists: npt.ArrayLike) -> Span:
    """The buckets that any of these histograms has something in."""
    seen = np.flatnonzero(np.sum(np.array(hists), axis=0))
    if not len(seen):
        return Span(12, 60)
    return Span(max(int(seen[0]) - 2, 0), min(int(seen[-1]) + 2, BUCKETS - 1))


class Held:
    """A scale that takes in at once what is new, and lets go of what has not been needed for HELD intervals."""

    def __init__(self) -> None:
        self._of: object = None
        self._spans: dict[int, Span] = {}

    def hold(self, wanted: Span, of: object, interval: int) -> Span:
        """of: what it is the scale of; with anything else it begins anew. interval: which one, by its end in ns."""
        if of != self._of:
            self._of, self._spans = of, {}
        self._spans[interval] = wanted
        while len(self._spans) > HELD:
            del self._spans[next(iter(self._spans))]
        return Span(min(one.first for one in self._spans.values()), max(one.last for one in self._spans.values()))
