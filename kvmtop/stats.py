"""Two Snapshots in, what happened between them out: pure functions.

Durations and times are ns. An open exit (a vCPU that has left the guest and not come back) counts with
the part of it that lies in the interval: a vCPU asleep shows as idle while it sleeps, not when it wakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .snapshot import BUCKETS, FIRST_OCTAVE, SVM, UNKNOWN, VMX, Array, Snapshot

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Halted: HLT and MWAIT (Intel SDM vol. 3 appendix C; AMD APM vol. 2 appendix C, 0xa6 is idle-HLT).
IDLE = {(VMX, 12), (VMX, 36), (SVM, 0x78), (SVM, 0x8B), (SVM, 0x8C), (SVM, 0xA6)}
# An exit for the host's own interrupts: what preempts a vCPU arrives through it.
INTERRUPT = {(VMX, 1), (SVM, 0x60)}

SILENT_AFTER = 3.0  # seconds without any exit, after which silence() speaks
PARTS = ("guest", "kernel", "user", "idle", "wait")  # where a vCPU's second goes, in this order everywhere
ROW = np.dtype(
    [
        ("reason", "u4"),
        ("isa", "u4"),
        ("thread", "i8"),  # row of the later Snapshot's threads; -1: gone
        ("count", "i8"),  # exits that ended in the interval
        ("total", "i8"),  # ns: their durations
        ("time", "i8"),  # ns of the interval spent in such exits, open ones too
        ("user", "i8"),  # ns of it in user space
        ("min", "i8"),  # since the start
        ("max", "i8"),
        ("hist", "i8", (BUCKETS,)),
    ]
)


@dataclass(frozen=True)
class Interval:
    """What happened between two Snapshots. rows: dtype ROW; several may speak of one (thread, isa, reason)."""

    before: Snapshot | None
    after: Snapshot
    rows: Array

    @property
    def start_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return self.before.time_ns if self.before else self.after.start_ns

    @property
    def seconds(self) -> float:
        """The measured length, by which rates divide."""
        return max(self.after.time_ns - self.start_ns, 1) / 1e9

    @property
    def lost(self) -> int:
        """Exits of this interval that were not counted."""
        return self.after.lost - (self.before.lost if self.before else 0)

    @cached_property
    def budget(self) -> I64:
        """Shape (threads, 5): ns of PARTS for each thread of `after`; zeros for what is unknown."""
        return _budget(self)

    @cached_property
    def known(self) -> I64:
        """Shape (threads,): ns of the interval in which each thread was watched."""
        threads = self.after.threads
        start = np.maximum(threads["first_ns"], np.uint64(self.start_ns))
        end = np.where(threads["end_ns"], threads["end_ns"], np.uint64(self.after.time_ns))
        length: I64 = np.maximum(end.astype("i8") - start.astype("i8"), 0)
        return length


def diff(before: Snapshot | None, after: Snapshot) -> Interval:
    """What happened between two Snapshots of one source; since its start where `before` is None."""
    cells = after.cells
    rows = np.zeros(len(cells), ROW)
    for name in ("reason", "isa", "count", "total", "user", "hist"):
        rows[name] = cells[name]
    rows["time"] = cells["total"]
    rows["min"] = np.minimum(cells["min"], np.uint64(2**63 - 1))
    rows["max"] = cells["max"]
    rows["thread"] = np.where(after.cell_ids != 0, cells["thread"].astype("i8"), -1)
    parts = [_open(after, after, 1)]
    if before is not None:
        rows = rows[after.cell_ids != 0]
        ids = after.cell_ids[after.cell_ids != 0]
        old = np.flatnonzero(before.cell_ids != 0)
        at = _find(ids, before.cell_ids[old])
        old, at = old[at >= 0], at[at >= 0]
        for name, was in (
            ("count", "count"),
            ("total", "total"),
            ("time", "total"),
            ("user", "user"),
            ("hist", "hist"),
        ):
            rows[name][at] -= before.cells[was][old].astype("i8")
        parts.append(_open(before, after, -1))
    return Interval(before, after, np.concatenate([rows, *parts]))


def _find(where: npt.NDArray[np.uint64], what: npt.NDArray[np.uint64]) -> I64:
    """The position of each of `what` in `where`; -1 where it is not."""
    if not len(where):
        return np.full(len(what), -1)
    order = np.argsort(where)
    at = order[np.minimum(np.searchsorted(where, what, sorter=order), len(where) - 1)]
    found: I64 = np.where(where[at] == what, at, -1)
    return found


def open_ns(snapshot: Snapshot) -> tuple[I64, I64]:
    """Shape (threads,) each: ns that the open exit has lasted, and the part in user space; 0 without one.

    A thread that has ended with an exit open stays at what it had then.
    """
    threads = snapshot.threads
    now = np.where(threads["end_ns"], threads["end_ns"], np.uint64(snapshot.time_ns)).astype("i8")
    since = threads["exit_ns"].astype("i8")
    lasted = np.where(since > 0, np.maximum(now - since, 0), 0)
    left = threads["user_ns"].astype("i8")
    user = np.where(since > 0, threads["user"].astype("i8") + np.where(left > 0, np.maximum(now - left, 0), 0), 0)
    return lasted, np.minimum(user, lasted)


def _open(snapshot: Snapshot, after: Snapshot, sign: int) -> Array:
    """The open exits of a Snapshot as rows that add (or take away) their time so far."""
    lasted, user = open_ns(snapshot)
    which = np.flatnonzero(lasted)
    row = which if snapshot is after else _find(after.thread_ids, snapshot.thread_ids[which])
    which, row = which[row >= 0], row[row >= 0]
    rows = np.zeros(len(which), ROW)
    rows["reason"], rows["isa"] = snapshot.threads["reason"][which], snapshot.threads["isa"][which]
    rows["thread"] = row
    rows["time"], rows["user"] = sign * lasted[which], sign * user[which]
    rows["min"] = 2**63 - 1
    return rows


def is_one_of(rows: Array, codes: set[tuple[int, int]]) -> Mask:
    """Which rows have one of these (isa, reason); VMX's flag bits do not matter."""
    mask = np.zeros(len(rows), bool)
    basic = np.where(rows["isa"] == VMX, rows["reason"] & 0xFFFF, rows["reason"])
    for isa, code in codes:
        mask |= (rows["isa"] == isa) & (basic == code)
    return mask


def _budget(interval: Interval) -> I64:
    after, before, rows = interval.after, interval.before, interval.rows
    count = len(after.threads)
    rows = rows[rows["thread"] >= 0]
    idle = is_one_of(rows, IDLE)
    kernel_ns = rows["time"] - rows["user"]

    def per_thread(mask: Any, values: Any) -> I64:
        # Float sums are exact here: 2**53 ns are 104 days.
        return np.bincount(rows["thread"][mask], weights=values[mask], minlength=count).astype("i8")

    budget = np.zeros((count, len(PARTS)), "i8")
    guest, kernel, user, asleep, wait = budget.T
    guest += _guest(after)
    if before is not None:
        at = _find(after.thread_ids, before.thread_ids)
        guest[at[at >= 0]] -= _guest(before)[at >= 0]
    kernel += per_thread(~idle, kernel_ns)
    asleep += per_thread(idle, kernel_ns)
    user += per_thread(np.ones(len(rows), bool), rows["user"])

    # Waiting for a CPU happened within the others. A vCPU is preempted by the host's interrupts, so it is
    # taken out of theirs first, then of idle (late wake-ups), then of what is left.
    tids = after.threads["id"].astype("u4")
    delay = np.array([_delay(interval, int(tid)) for tid in tids], "i8").reshape(count)
    delay = np.minimum(delay, interval.known)
    interrupts = per_thread(is_one_of(rows, INTERRUPT), kernel_ns)
    for part, most in ((kernel, interrupts), (asleep, asleep), (kernel, kernel), (user, user), (guest, guest)):
        taken = np.clip(np.minimum(delay, most), 0, None)
        part -= taken
        wait += taken
        delay = delay - taken
    return np.maximum(budget, 0)


def _delay(interval: Interval, tid: int) -> int:
    after, before = interval.after.run_delay, interval.before.run_delay if interval.before else {}
    return max(after.get(tid, 0) - before.get(tid, 0), 0)


def _guest(snapshot: Snapshot) -> I64:
    threads = snapshot.threads
    now = np.where(threads["end_ns"], threads["end_ns"], np.uint64(snapshot.time_ns)).astype("i8")
    since = threads["entry_ns"].astype("i8")
    inside = np.where(since > 0, np.maximum(now - since, 0), 0)
    total: I64 = threads["guest"].astype("i8") + inside
    return total


@dataclass(frozen=True)
class Reason:
    """One exit reason of one scope over one Interval; None is unknown."""

    isa: int
    code: int
    name: str
    idle: bool
    seconds: float
    count: int
    time: int  # ns of the interval, open exits too
    user: int  # ns of time in user space
    total: int  # ns: durations of the `count` exits
    min: int | None  # ns, since the start
    max: int | None  # ns; of the interval, from the histogram where no longer one came before
    hist: tuple[int, ...]  # of the `count` exits

    @property
    def key(self) -> tuple[int, int]:
        """What identifies the reason across Intervals."""
        return self.isa, self.code

    @property
    def rate(self) -> float:
        """Exits a second."""
        return self.count / self.seconds

    @property
    def time_rate(self) -> float:
        """ns a second."""
        return self.time / self.seconds

    @property
    def avg(self) -> float | None:
        """ns."""
        return self.total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The duration in ns below which this share (0 to 1) of the exits stayed, within 12.5 %."""
        return percentile(self.hist, share, self.min, self.max)


def by_reason(interval: Interval, threads: Mask | None = None) -> list[Reason]:
    """The reasons seen so far by the threads of a mask (None: all, gone ones too), by code."""
    rows = interval.rows if threads is None else interval.rows[_of(interval.rows, threads)]
    if not len(rows):
        return []
    keys = rows["isa"].astype("u8") << np.uint64(32) | rows["reason"]
    order = np.argsort(keys, kind="stable")
    _, first = np.unique(keys[order], return_index=True)
    rows = rows[order]
    sums = {name: np.add.reduceat(rows[name], first) for name in ("count", "time", "user", "total", "hist")}
    shortest, longest = np.minimum.reduceat(rows["min"], first), np.maximum.reduceat(rows["max"], first)
    idle = is_one_of(rows[first], IDLE)
    reasons = []
    for i, at in enumerate(first):
        isa, code = int(rows["isa"][at]), int(rows["reason"][at])
        seen = bool(longest[i])
        hist = sums["hist"][i]
        top = int(np.flatnonzero(hist > 0)[-1]) if (hist > 0).any() else None
        reasons.append(
            Reason(
                isa=isa,
                code=code,
                name=interval.after.names.name(isa, code),
                idle=bool(idle[i]),
                seconds=interval.seconds,
                count=int(sums["count"][i]),
                time=max(int(sums["time"][i]), 0),
                user=max(int(sums["user"][i]), 0),
                total=int(sums["total"][i]),
                min=int(shortest[i]) if seen else None,
                max=None if top is None else min(int(longest[i]), bucket_bounds(top)[1]),
                hist=tuple(hist.tolist()),
            )
        )
    return reasons


def counts(snapshot: Snapshot, threads: Mask | None = None) -> dict[tuple[int, int], int]:
    """Exits by (isa, reason) since the source began, of the threads of a mask (None: all, gone ones too)."""
    cells = snapshot.cells
    if threads is not None:
        cells = cells[snapshot.cell_ids != 0]
        cells = cells[threads[cells["thread"]]]
    keys, group = np.unique(cells["isa"].astype("u8") << np.uint64(32) | cells["reason"], return_inverse=True)
    sums = np.bincount(group, cells["count"], len(keys))
    return {(int(key) >> 32, int(key) & 0xFFFFFFFF): int(count) for key, count in zip(keys, sums, strict=True)}


def top_reasons(interval: Interval) -> dict[tuple[int, int], tuple[int, int]]:
    """The (isa, code) with the most time, idle ones aside, of each VM, (pid, -1), and each thread, (pid, its row)."""
    rows = interval.rows[interval.rows["thread"] >= 0]
    rows = rows[~is_one_of(rows, IDLE)]
    if not len(rows):
        return {}
    keys, column = np.unique(rows["isa"].astype("u8") << np.uint64(32) | rows["reason"], return_inverse=True)
    threads = len(interval.after.threads)
    times = np.bincount(rows["thread"] * len(keys) + column, rows["time"], threads * len(keys)).reshape(threads, -1)
    pids, vm = np.unique((interval.after.threads["id"] >> np.uint64(32)).astype("i8"), return_inverse=True)
    by_vm = np.zeros((len(pids), len(keys)))
    np.add.at(by_vm, vm, times)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    owners = ([(int(pid), -1) for pid in pids], [(int(pids[v]), row) for row, v in enumerate(vm)])
    for who, table in zip(owners, (by_vm, times), strict=True):
        for owner, best, most in zip(who, table.argmax(axis=1).tolist(), table.max(axis=1).tolist(), strict=True):
            if most > 0:
                found[owner] = int(keys[best]) >> 32, int(keys[best]) & 0xFFFFFFFF
    return found


def _of(rows: Array, threads: Mask) -> Mask:
    mask: Mask = np.append(threads, False)[rows["thread"]]  # thread -1 is the False at the end
    return mask


def bucket_bounds(index: int) -> tuple[int, int]:
    """The durations in ns that a bucket of the histogram holds: from the first, below the second."""
    octave, quarter = FIRST_OCTAVE + (index >> 2), index & 3
    low = (4 + quarter) << (octave - 2)
    high = (5 + quarter) << (octave - 2)
    return (0 if index == 0 else low), (1 << 63 if index == BUCKETS - 1 else high)


def percentile(hist: Sequence[int], share: float, low: int | None, high: int | None) -> float | None:
    """The middle of the bucket that holds the exit of that rank, kept between the exact min and max."""
    count = sum(hist)
    if count <= 0:
        return None
    rank, seen = max(1, -(-share * count // 1)), 0
    for index, number in enumerate(hist):
        seen += number
        if seen >= rank:
            start, end = bucket_bounds(index)
            middle = (max(start, 1 << FIRST_OCTAVE) + min(end, 1 << FIRST_OCTAVE + BUCKETS // 4)) / 2
            return min(max(middle, low or 0), middle if high is None else max(high, 0))
    return None


def isa_name(isa: int) -> str:
    """How people call it."""
    return {VMX: "VMX", SVM: "SVM", UNKNOWN: "–"}.get(isa, "–")


def silence(snapshot: Snapshot) -> str | None:
    """Why nothing has been seen after some seconds, in a sentence; None if it has, or it is too early to say."""
    if len(snapshot.threads) or (snapshot.time_ns - snapshot.start_ns) / 1e9 < SILENT_AFTER:
        return None
    if snapshot.userspace:
        return (
            f"guests run here ({snapshot.userspace} exits to user space seen), but this kernel's KVM emits no kvm_exit"
            " event, so there is nothing to time (a paravirtual or nested KVM such as PVM does so)"
        )
    running = sum(not vm.ended for vm in snapshot.vms.values())
    if not running:
        return "no VM runs here; exits show as soon as one starts"
    whose = "its" if running == 1 else "their"
    return f"{running} VM{'s' * (running != 1)} here, but none of {whose} vCPUs has left or entered the guest yet"
