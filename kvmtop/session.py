"""A run as it goes on: the last interval, the totals since the start, and what came before for the trends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .snapshot import BUCKETS, U64, Snapshot
from .stats import I64, Interval, Mask, Reason, by_reason, counts, diff

HISTORY = 300  # intervals
MOST_BUCKETS = 2_000_000  # filled buckets that the history keeps (9 bytes each), over all intervals

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
            return np.asarray(snapshot.threads["id"] >> np.uint64(32) == self.pid)
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
    """One interval of the history, small: sums by (thread, reason), and their filled buckets."""

    def __init__(self, interval: Interval) -> None:
        rows = interval.rows[interval.rows["thread"] >= 0]
        rows = rows[(rows["count"] != 0) | (rows["time"] != 0)]
        self.time_ns, self.seconds = interval.after.time_ns, interval.seconds
        self.threads: U64 = interval.after.thread_ids[rows["thread"]]
        self.pids: I64 = (interval.after.threads["id"][rows["thread"]] >> np.uint64(32)).astype("i8")
        self.keys: U64 = rows["isa"].astype("u8") << np.uint64(32) | rows["reason"]
        self.counts: I64 = rows["count"].copy()
        self.times: I64 = rows["time"].copy()
        row, bucket = np.nonzero(rows["hist"])
        self.hist_row, self.hist_bucket = row.astype("u4"), bucket.astype("u1")
        self.hist_count = rows["hist"][row, bucket].astype("u4")
        self._sums: dict[Scope, dict[Key, tuple[int, int]]] = {}

    def _mask(self, scope: Scope) -> Mask:
        if scope.thread is not None:
            return np.asarray(self.threads == scope.thread)
        return np.asarray(self.pids == scope.pid) if scope.pid is not None else np.ones(len(self.pids), bool)

    def by_reason(self, scope: Scope) -> dict[Key, tuple[int, int]]:
        """Exits and ns of each reason in a scope."""
        if scope not in self._sums:
            mask = self._mask(scope)
            keys, group = np.unique(self.keys[mask], return_inverse=True)
            counts = np.bincount(group, self.counts[mask], len(keys))
            times = np.bincount(group, self.times[mask], len(keys))
            self._sums[scope] = {
                (int(key) >> 32, int(key) & 0xFFFFFFFF): (int(count), int(time))
                for key, count, time in zip(keys, counts, times, strict=True)
            }
        return self._sums[scope]

    def rate(self, scope: Scope, key: Key | None = None) -> float:
        """Exits a second, of one reason or of all."""
        sums = self.by_reason(scope)
        count = sums.get(key, (0, 0))[0] if key else sum(count for count, _ in sums.values())
        return count / self.seconds

    def hist(self, scope: Scope, key: Key) -> npt.NDArray[np.int64]:
        """The histogram of one reason in a scope; shape (BUCKETS,)."""
        mask = self._mask(scope) & (self.keys == np.uint64(key[0] << 32 | key[1]))
        mine = mask[self.hist_row]
        sums: I64 = np.bincount(self.hist_bucket[mine], self.hist_count[mine], BUCKETS).astype("i8")
        return sums

    @cached_property
    def rates(self) -> dict[Scope, float]:
        """Exits a second of each VM and each vCPU at once."""
        found: dict[Scope, float] = {}
        threads, first, group = np.unique(self.threads, return_index=True, return_inverse=True)
        counts = np.bincount(group, self.counts, len(threads)) / self.seconds
        for thread, pid, rate in zip(threads.tolist(), self.pids[first].tolist(), counts.tolist(), strict=True):
            found[Scope(pid, thread)] = rate
            found[Scope(pid)] = found.get(Scope(pid), 0.0) + rate
        return found

    def forget_histograms(self) -> None:
        """Free the largest part."""
        self.hist_row, self.hist_bucket, self.hist_count = (
            a[:0] for a in (self.hist_row, self.hist_bucket, self.hist_count)
        )


class Session:
    """Takes Snapshots in, gives Lines and history out."""

    def __init__(self) -> None:
        self.last: Snapshot | None = None
        self.interval: Interval | None = None
        self.history: deque[Sample] = deque(maxlen=HISTORY)
        self._baseline: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> Interval:
        """The interval that this Snapshot ends."""
        self.interval = diff(self.last, snapshot)
        self.last = snapshot
        self.history.append(Sample(self.interval))
        filled = 0
        for sample in reversed(self.history):
            filled += len(sample.hist_row)
            if filled > MOST_BUCKETS:
                sample.forget_histograms()
        return self.interval

    def reset(self) -> None:
        """Totals count from now on; the summary is not touched by it."""
        self._baseline = self.last
        self.history.clear()

    def total(self) -> Interval | None:
        """Since the start, or the last reset."""
        return diff(self._baseline, self.last) if self.last else None

    def lines(self, interval: Interval, scope: Scope = ALL, leave_idle: bool = False, trend: int = 0) -> list[Line]:
        """The reasons of a scope, by code. leave_idle: time shares are of the time that is not idle."""
        mask = scope.mask(interval.after)
        reasons = by_reason(interval, mask)
        exits = sum(reason.count for reason in reasons)
        time = sum(reason.time for reason in reasons if not (leave_idle and reason.idle))
        totals = counts(interval.after, mask)
        if self._baseline:
            mask = scope.mask(self._baseline)
            if mask is not None:  # threads that are long gone have left the scope's totals, too
                mask = mask & np.isin(self._baseline.thread_ids, interval.after.thread_ids)
            for key, count in counts(self._baseline, mask).items():
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
