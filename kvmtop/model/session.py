"""A run as it goes on: the last interval, the totals since the start, and what came before for the trends."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .keys import pack, unpack
from .snapshot import BUCKETS, U64, Snapshot
from .stats import I64, Interval, Mask, Reason, by_reason, counts, diff, percentile

HISTORY = 300  # intervals
MOST_BUCKETS = 2_000_000  # filled buckets that the history keeps (9 bytes each), over all intervals
MOST_ROWS = 4_000_000  # sums by (thread, reason) that it keeps (22 bytes each)

Key = tuple[int, int]  # isa, code


@dataclass(frozen=True)
class Scope:
    """What is looked at: everything, one VM (pid), or one vCPU (its thread's id in the Snapshots)."""

    pid: int | None = None
    thread: int | None = None

    def mask(self, snapshot: Snapshot) -> Mask | None:
        """The rows of snapshot.threads in this scope; None for everything, threads long gone too."""
        if self.thread is not None:
            return np.asarray(snapshot.thread_ids == self.thread)
        if self.pid is not None:
            return np.asarray(unpack(snapshot.threads["id"])[0] == self.pid)
        return None


ALL = Scope()


@dataclass(frozen=True)
class Line:
    """A reason as the table shows it."""

    reason: Reason
    share: float | None  # of the scope's exits
    time_share: float | None  # of the scope's time outside the guest; None where idle reasons are left out
    trend: list[float] = field(default_factory=list)  # exits/s, oldest first
    total: int = 0  # exits since the start


class Sample:
    """One interval of the history, small: sums by (thread, reason), and their filled buckets.

    Of the newest there is all; older ones forget first their histograms, then whose exits they were.
    """

    def __init__(self, interval: Interval, like: Sample | None = None) -> None:
        """like: a sample that knows the same threads, as a rule: what is equal is kept once."""
        after, (distinct, column) = interval.after, interval.reasons
        rows = interval.rows
        which = np.flatnonzero((rows["thread"] >= 0) & ((rows["count"] != 0) | (rows["time"] != 0)))
        rows = rows[which]
        self.time_ns, self.seconds = after.time_ns, interval.seconds
        self.distinct: U64 = distinct
        self.threads: U64 = after.thread_ids.copy()
        self.pids: I64 = unpack(after.threads["id"])[0].astype("i8")
        if like and np.array_equal(like.threads, self.threads) and np.array_equal(like.pids, self.pids):
            self.threads, self.pids = like.threads, like.pids
        self.thread = rows["thread"].astype("u4")  # position in threads
        self.key = column[which].astype("u2")  # position in distinct
        self.counts: I64 = rows["count"].copy()
        self.times: I64 = rows["time"].copy()
        buckets = interval.buckets
        row, bucket, count = buckets.row, buckets.bucket, buckets.count
        if len(which) < len(interval.rows):
            position = np.full(len(interval.rows), -1)
            position[which] = np.arange(len(which))
            row = position[row]
            if len(row) and row.min() < 0:  # of threads long gone
                row, bucket, count = row[row >= 0], bucket[row >= 0], count[row >= 0]
        self.hist_row, self.hist_bucket, self.hist_count = row.astype("u4"), bucket.astype("u1"), count.astype("u4")
        self._sums: dict[Scope, dict[Key, tuple[int, int]]] = {}
        self._hists: dict[tuple[Scope, Key], I64] = {}
        self._p99s: dict[tuple[Scope, Key], float | None] = {}
        self.whole = True  # knows whose exits they were
        self.by_reason(ALL)

    def _mask(self, scope: Scope) -> Mask:
        if scope == ALL:
            return np.ones(len(self.key), bool)
        mine: Mask = self._threads_of(scope)[self.thread]
        return mine

    def _threads_of(self, scope: Scope) -> Mask:
        return np.asarray(self.threads == scope.thread if scope.thread is not None else self.pids == scope.pid)

    def by_reason(self, scope: Scope) -> dict[Key, tuple[int, int]]:
        """Exits and ns of each reason in a scope; nothing where it is forgotten."""
        if scope not in self._sums:
            if not self.whole:
                return {}
            mask = self._mask(scope)
            key, counts, times = self.key[mask], self.counts[mask], self.times[mask]
            seen = np.bincount(key, minlength=len(self.distinct)).tolist()
            sums = (np.bincount(key, values, len(self.distinct)).tolist() for values in (counts, times))
            self._sums[scope] = {
                unpack(reason): (int(count), int(time))
                for reason, rows, count, time in zip(self.distinct.tolist(), seen, *sums, strict=True)
                if rows
            }
        return self._sums[scope]

    def rate(self, scope: Scope, key: Key | None = None) -> float | None:
        """Exits a second, of one reason or of all; None where it is forgotten."""
        if not key and scope != ALL:
            return float(self.thread_rates[self._threads_of(scope)].sum())
        if not self.whole and scope not in self._sums:
            return None
        sums = self.by_reason(scope)
        count = sums.get(key, (0, 0))[0] if key else sum(count for count, _ in sums.values())
        return count / self.seconds

    def hist(self, scope: Scope, key: Key) -> npt.NDArray[np.int64]:
        """The histogram of one reason in a scope; shape (BUCKETS,)."""
        if (scope, key) not in self._hists:
            wanted = self.distinct == np.uint64(pack(*key))
            mine = (self._mask(scope) & wanted[self.key])[self.hist_row]
            sums = np.bincount(self.hist_bucket[mine], self.hist_count[mine], BUCKETS)
            self._hists[scope, key] = sums.astype("i8")
        return self._hists[scope, key]

    def p99(self, scope: Scope, key: Key) -> float | None:
        """ns that 99 % of one reason's exits in a scope stayed below; None without exits, or where it is forgotten."""
        if (scope, key) not in self._p99s:
            self._p99s[scope, key] = percentile(self.hist(scope, key).tolist(), 0.99, None, None)
        return self._p99s[scope, key]

    @cached_property
    def thread_rates(self) -> npt.NDArray[np.float64]:
        """Exits a second of each of `threads`."""
        return np.bincount(self.thread, self.counts, len(self.threads)) / self.seconds

    @property
    def rates(self) -> dict[Scope, float]:
        """Exits a second of each VM and each vCPU at once."""
        found: dict[Scope, float] = {}
        owners = zip(self.threads.tolist(), self.pids.tolist(), self.thread_rates.tolist(), strict=True)
        for thread, pid, rate in owners:
            found[Scope(pid, thread)] = rate
            found[Scope(pid)] = found.get(Scope(pid), 0.0) + rate
        return found

    def without_histograms(self) -> Sample:
        """A copy that lacks the largest part; whoever has this one at hand keeps it whole."""
        less = copy.copy(self)
        less.hist_row, less.hist_bucket, less.hist_count = (
            a[:0].copy() for a in (self.hist_row, self.hist_bucket, self.hist_count)
        )
        less._sums, less._hists, less._p99s = self._sums.copy(), self._hists.copy(), self._p99s.copy()
        return less

    def without_threads(self) -> Sample:
        """A copy that knows the sums over all threads, and those of scopes that were asked for, only."""
        self.thread_rates  # noqa: B018
        less = self.without_histograms()
        less.thread, less.key, less.counts, less.times = (
            a[:0].copy() for a in (self.thread, self.key, self.counts, self.times)
        )  # fmt: skip
        less.whole = False
        return less


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
        interval = self.interval = diff(self.last, snapshot)
        self.last = snapshot
        history = list(self.history)
        history.append(Sample(interval, history[-1] if history else None))
        filled = rows = 0
        for n, sample in reversed(list(enumerate(history))):
            filled, rows = filled + len(sample.hist_row), rows + len(sample.key)
            if rows > MOST_ROWS and sample.whole:
                history[n] = sample.without_threads()
            elif filled > MOST_BUCKETS and len(sample.hist_row):
                history[n] = sample.without_histograms()
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

    def lines(self, interval: Interval, scope: Scope = ALL, leave_idle: bool = False, trend: int = 0) -> list[Line]:
        """The reasons of a scope, by code. leave_idle: time shares are of the time that is not idle."""
        mask = scope.mask(interval.after)
        reasons = by_reason(interval, mask)
        exits = sum(reason.count for reason in reasons)
        time = sum(reason.time for reason in reasons if not (leave_idle and reason.idle))
        totals = counts(interval.after, mask)
        if baseline := self._baseline:
            mask = scope.mask(baseline)
            if mask is not None:  # threads that are long gone have left the scope's totals, too
                mask = mask & np.isin(baseline.thread_ids, interval.after.thread_ids)
            for key, count in counts(baseline, mask).items():
                totals[key] = totals.get(key, 0) - count
        samples = list(self.history)[-trend:] if trend else []
        return [
            Line(
                reason=reason,
                share=reason.count / exits if exits else None,
                time_share=None if not time or (leave_idle and reason.idle) else reason.time / time,
                trend=[sample.by_reason(scope).get(reason.key, (0, 0))[0] / sample.seconds for sample in samples],
                total=totals.get(reason.key, 0),
            )
            for reason in reasons
        ]
