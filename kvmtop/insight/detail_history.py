"""What was seen while somebody looked at details: samples for the trends, and the slowest exits."""

from __future__ import annotations

import heapq
from collections import deque

from ..model.interval import Interval
from .accesses import Sample, rates
from .slow_exits import Slow, read

SLOWEST = 20  # exits kept, of the interval and of the run


class Watched:
    """What was seen while somebody looked: samples for the trends, and the slowest exits."""

    def __init__(self) -> None:
        self.history: deque[Sample] = deque(maxlen=60)
        self.interval: list[Slow] = []  # the slowest of the last interval, slowest first
        self.run: list[Slow] = []  # and of the run
        self._since = 0

    def add(self, interval: Interval) -> None:
        """Take an interval in."""
        details = interval.after.details
        if details is None:
            self.interval = []
            return
        if details.since_ns != self._since:
            self.history.clear()
            self._since = details.since_ns
        self.history.append(rates(interval))
        self.interval = heapq.nlargest(SLOWEST, read(details.slow, interval.after), key=lambda one: one.ns)
        self.run = heapq.nlargest(SLOWEST, [*self.run, *self.interval], key=lambda one: one.ns)
