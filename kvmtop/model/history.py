"""Intervals that have passed, small enough to be kept."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .arrays import I64, U64, Mask
from .exit_stats import Groups
from .histogram import BUCKETS, percentile
from .interval import Interval
from .keys import pack, unpack
from .scope import ALL, Scope
from .vocabulary import STATES, Key

HISTORY = 300  # intervals

MOST_BUCKETS = 2_000_000  # filled buckets that the history keeps (9 bytes each), over all intervals

MOST_ROWS = 4_000_000  # sums by (thread, reason) that it keeps (22 bytes each, and 8 at most of their VMs')

MOST_STATES = 1_000_000  # threads of whose states it keeps the time (32 bytes each), over all intervals


class Sample:
    """One interval of the history, small: sums by (thread, reason), their filled buckets, and each thread's states.

    Of the newest there is all; older ones forget first their histograms, then whose exits and states they were.
    """

    def __init__(self, interval: Interval, like: Sample | None = None) -> None:
        """like: a sample that knows the same threads, as a rule: what is equal is kept once."""
        after, (distinct, column) = interval.after, interval.reasons
        rows = interval.rows
        which = np.flatnonzero((rows["thread"] >= 0) & ((rows["count"] != 0) | (rows["time"] != 0)))
        self.time_ns, self.seconds = after.time_ns, interval.seconds
        self.distinct: U64 = distinct
        self.threads: U64 = after.thread_ids.copy()
        self.pids: I64 = unpack(after.threads["id"])[0].astype("i8")
        if like and np.array_equal(like.threads, self.threads) and np.array_equal(like.pids, self.pids):
            self.threads, self.pids = like.threads, like.pids
        self.thread = rows["thread"][which].astype("u4")  # position in threads
        self.key = column[which].astype("u2")  # position in distinct
        self.counts: I64 = rows["count"][which]
        self.times: I64 = rows["time"][which]
        buckets = interval.buckets
        row, bucket, count = buckets.row, buckets.bucket, buckets.count
        if len(which) < len(interval.rows):
            position = np.full(len(interval.rows), -1)
            position[which] = np.arange(len(which))
            row = position[row]
            if len(row) and row.min() < 0:  # of threads that ended long ago
                row, bucket, count = row[row >= 0], bucket[row >= 0], count[row >= 0]
        self.hist_row, self.hist_bucket, self.hist_count = row.astype("u4"), bucket.astype("u1"), count.astype("u4")
        self.told = tuple(state for state in STATES if state in after.told)
        # µs of each thread in each of STATES, and of what no state is known.
        told = interval.budget * [state in self.told for state in STATES]
        spent = np.concatenate([told, (interval.known - told.sum(axis=1))[:, None]], axis=1)
        self.spent = (np.maximum(spent, 0) // 1000).clip(max=2**32 - 1).astype("u4")
        self._sums: dict[Scope, dict[Key, tuple[int, int]]] = {}
        self._states: dict[Scope, dict[str, float] | None] = {}
        self._hists: dict[tuple[Scope, Key], I64] = {}
        self._p99s: dict[tuple[Scope, Key], float | None] = {}
        self.whole = True  # knows whose exits they were
        self.by_reason(ALL)
        self.states(ALL)

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
            groups = Groups(self.key[mask])
            sums = zip(groups.add(self.counts[mask]).tolist(), groups.add(self.times[mask]).tolist(), strict=True)
            self._sums[scope] = dict(zip(groups.keys(self.distinct), sums, strict=True))
        return self._sums[scope]

    def states(self, scope: Scope) -> dict[str, float] | None:
        """Where a scope's vCPUs spent the interval, of 1, by the states that are told: what they leave is unknown.

        None where all of it is unknown, or forgotten.
        """
        if scope not in self._states:
            if not len(self.spent) and len(self.threads):
                return None
            spent = self.spent if scope == ALL else self.spent[self._threads_of(scope)]
            sums = spent.sum(axis=0, dtype="i8").tolist()
            shares = {state: sums[STATES.index(state)] / max(sum(sums), 1) for state in self.told}
            self._states[scope] = shares if any(sums) and shares else None
        return self._states[scope]

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

    def without_states(self) -> Sample:
        """A copy that knows where the time went of all threads together, and in scopes that were asked for, only."""
        less = copy.copy(self)
        less.spent, less._states = self.spent[:0].copy(), self._states.copy()
        return less

    def without_threads(self) -> Sample:
        """A copy that knows the sums over all threads, and those of scopes that were asked for, only."""
        self.thread_rates  # noqa: B018
        less = self.without_histograms()
        less.thread, less.key, less.counts, less.times = (
            a[:0].copy() for a in (self.thread, self.key, self.counts, self.times)
        )
        less.whole = False
        return less


def forget(history: list[Sample]) -> None:
    """Keep a history, oldest first, within its bounds: the newest know the most."""
    filled = rows = states = 0
    for n, sample in reversed(list(enumerate(history))):
        filled, rows, states = filled + len(sample.hist_row), rows + len(sample.key), states + len(sample.spent)
        if rows > MOST_ROWS and sample.whole:
            history[n] = sample.without_threads()
        elif filled > MOST_BUCKETS and len(sample.hist_row):
            history[n] = sample.without_histograms()
        if states > MOST_STATES and len(sample.spent):
            history[n] = history[n].without_states()
