"""What was seen while somebody looked at details: samples for the trends, and the slowest exits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from ..model.interval import Interval
from .accesses import Sample, rates
from .slow_exits import Slow, read

SAMPLES = 60  # intervals
SLOWEST = 20  # exits kept of each vCPU, of the interval and of the run
MOST = 1000  # of all vCPUs together


@dataclass(frozen=True)
class DetailHistory:
    """What was seen up to an interval. It never changes: threads may share it."""

    samples: tuple[Sample, ...] = ()  # oldest first
    slow: tuple[Slow, ...] = ()  # the slowest of the last interval, slowest first; of each vCPU SLOWEST
    slowest: tuple[Slow, ...] = ()  # and of the run
    since_ns: int = 0  # when the present look began

    def add(self, interval: Interval) -> DetailHistory:
        """With this interval, too."""
        details = interval.after.details
        if details is None:
            return replace(self, slow=())
        before = self.samples if details.since_ns == self.since_ns else ()
        slow = _slowest(read(details.slow, interval.after))
        return DetailHistory(
            samples=(*before, rates(interval))[-SAMPLES:],
            slow=slow,
            slowest=_slowest([*self.slowest, *slow]),
            since_ns=details.since_ns,
        )


def _slowest(found: list[Slow]) -> tuple[Slow, ...]:
    kept, of_thread = [], Counter[tuple[int, int]]()
    for one in sorted(found, key=lambda one: -one.ns):
        of_thread[one.pid, one.tid] += 1
        if of_thread[one.pid, one.tid] <= SLOWEST:
            kept.append(one)
    return tuple(kept[:MOST])
