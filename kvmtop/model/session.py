"""A run as it goes on: the last interval, the totals since the start, and what came before for the trends."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from .exit_stats import Reason, by_reason, counts
from .history import HISTORY, Sample, forget
from .interval import Interval, diff, start_of
from .scope import ALL, Scope
from .snapshot import Snapshot


@dataclass(frozen=True)
class Line:
    """A reason as the table shows it."""

    reason: Reason
    share: float | None  # of the scope's exits
    time_share: float | None  # of the scope's time outside the guest
    trend: list[float] = field(default_factory=list)  # exits/s, oldest first
    total: int = 0  # exits since the start
    own_share: float | None = None  # of the reasons' own time (Reason.own); of one that is left aside None
    aside: bool = False  # it is idle, and other reasons' shares are without it


class Session:
    """Takes Snapshots in, gives Lines and history out. One thread adds; to others it gives copies."""

    def __init__(self) -> None:
        self.last: Snapshot | None = None
        self.interval: Interval | None = None
        self.history: deque[Sample] = deque(maxlen=HISTORY)  # never changed, but replaced as a whole
        self._baseline: Snapshot | None = None
        self._total: Interval | None = None

    def add(self, snapshot: Snapshot) -> Interval:
        """The interval that this Snapshot ends."""
        before = start_of(self.last, snapshot)
        if before is not self.last:  # another run: what came before says nothing of it
            self._baseline, self.history = before, deque(maxlen=HISTORY)
        interval = self.interval = diff(before, snapshot)
        self.last = snapshot
        history = list(self.history)
        history.append(Sample(interval, history[-1] if history else None))
        forget(history)
        self.history = deque(history, HISTORY)
        return interval

    def prepend(self, sample: Sample) -> None:
        """Put an older sample before the history."""
        self.history = deque([sample, *self.history], HISTORY)

    def copy(self) -> Session:
        """As it is now, for another thread: nothing that is added later is in it."""
        return copy.copy(self)

    def since(self, baseline: Snapshot | None) -> Session:
        """A copy whose totals and history count from an earlier Snapshot; this one where they do already."""
        if baseline and self.last and baseline.start_ns != self.last.start_ns:  # of another run
            baseline = None
        if baseline is self._baseline:
            return self
        one = self.copy()
        one._baseline = baseline
        if baseline:
            one.history = deque((sample for sample in self.history if sample.time_ns > baseline.time_ns), HISTORY)
        return one

    def total(self) -> Interval | None:
        """Since the start, or since the baseline."""
        baseline, last, total = self._baseline, self.last, self._total
        if last and not (total and total.before is baseline and total.after is last):
            total = self._total = diff(baseline, last)
        return total

    def lines(self, interval: Interval, scope: Scope = ALL, idle: bool = False, trend: int = 0) -> list[Line]:
        """The reasons of a scope, by code. idle: those count like any other; trend: so many intervals of it."""
        mask = scope.mask(interval.after)
        reasons = by_reason(interval, mask)
        exits, time = sum(reason.count for reason in reasons), sum(reason.time for reason in reasons)
        own = sum(reason.own for reason in reasons if idle or not reason.idle)
        totals = counts(interval.after, mask)
        if baseline := self._baseline:
            mask = scope.mask(baseline)
            if mask is not None:  # threads that ended long ago have left the scope's totals, too
                mask = mask & np.isin(baseline.thread_ids, interval.after.thread_ids)
            for key, count in counts(baseline, mask).items():
                totals[key] = totals.get(key, 0) - count
        samples = list(self.history)[-trend:] if trend else []
        past = [(sample.by_reason(scope), sample.seconds) for sample in samples]
        return [
            Line(
                reason=reason,
                share=reason.count / exits if exits else None,
                time_share=reason.time / time if time else None,
                trend=[sums.get(reason.key, (0, 0))[0] / seconds for sums, seconds in past],
                total=totals.get(reason.key, 0),
                own_share=reason.own / own if own > 0 and (idle or not reason.idle) else None,
                aside=reason.idle and not idle,
            )
            for reason in reasons
        ]
