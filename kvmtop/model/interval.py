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

from .keys import pack, unpack
from .reasons import IDLE, INTERRUPT
from .snapshot import BUCKETS, CELL, FIRST_OCTAVE, SVM, U64, UNKNOWN, VMX, Array, Snapshot

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

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
    ]
)


@dataclass(frozen=True)
class Buckets:
    """The buckets of histograms that are not empty, all shape (n,): the row, the bucket, its exits."""

    row: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.uint8]
    count: I64

    def sums(self, groups: I64, number: int) -> I64:
        """Shape (number, BUCKETS): the histograms of groups of rows, groups[row] being a row's; -1: of none."""
        start, count = (groups * BUCKETS)[self.row], self.count
        mine = start >= 0
        start, bucket, count = (
            (start, self.bucket, count) if mine.all() else (start[mine], self.bucket[mine], count[mine])
        )
        # Float sums are exact here: 2**53 exits.
        return np.bincount(start + bucket, count, number * BUCKETS).astype("i8").reshape(number, BUCKETS)


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

    @cached_property
    def reasons(self) -> tuple[U64, I64]:
        """The reasons of the rows, packed (isa, code) in ascending order, and for each row which of them it is."""
        cells = _cells(self.before, self.after)
        distinct, column = self.after.reasons
        opened = self.rows[len(column) if cells is None else len(cells) :]
        keys = pack(opened["isa"], opened["reason"])
        both = np.union1d(distinct, keys)
        of_cells = np.searchsorted(both, distinct)[column if cells is None else column[cells]]
        return both, np.concatenate([of_cells, np.searchsorted(both, keys)])

    @cached_property
    def buckets(self) -> Buckets:
        """The histograms of the rows: the exits that ended in the interval."""
        return _buckets(self)

    @cached_property
    def memo(self) -> dict[object, Any]:
        """What others have made of this interval and would make again."""
        return {}


def diff(before: Snapshot | None, after: Snapshot) -> Interval:
    """What happened between two Snapshots of one source; since its start where `before` is None."""
    heads, ids, rows = after.heads, after.cell_ids, np.zeros(len(after.cells), ROW)
    for name in ("reason", "isa", "count", "total", "user", "max"):
        rows[name] = heads[name]
    rows["time"] = heads["total"]
    rows["min"] = np.minimum(heads["min"], np.uint64(2**63 - 1))
    rows["thread"] = np.where(ids != 0, heads["thread"].astype("i8"), -1)
    parts = [_open(after, after, 1)]
    if before is not None:
        if (cells := _cells(before, after)) is not None:
            rows = rows[cells]
        at, old = _same_cells(before, after)
        for name, was in (("count", "count"), ("total", "total"), ("time", "total"), ("user", "user")):
            rows[name][at] -= before.heads[was][old].astype("i8")
        parts.append(_open(before, after, -1))
    return Interval(before, after, np.concatenate([rows, *parts]))


def _cells(before: Snapshot | None, after: Snapshot) -> I64 | None:
    """The cells that have a row in an Interval; None for all. What is long gone is in totals only."""
    if before is None or after.cell_ids.all():
        return None
    return np.flatnonzero(after.cell_ids)


def _same_cells(before: Snapshot, after: Snapshot) -> tuple[Any, Any]:
    """The rows of an Interval that both Snapshots have a cell of, and those cells of the earlier."""
    number = len(before.cell_ids)
    if before.cell_ids.all() and np.array_equal(before.cell_ids, after.cell_ids[:number]):  # as a rule
        return slice(0, number), slice(0, number)
    old = np.flatnonzero(before.cell_ids)
    at = find(after.cell_ids[after.cell_ids != 0], before.cell_ids[old])
    return at[at >= 0], old[at >= 0]


_CHUNK = 2048  # histograms that fit into a CPU's cache together with what they are compared with


def _buckets(interval: Interval) -> Buckets:
    before, after = interval.before, interval.after
    cells = _cells(before, after)
    number = len(after.cells) if cells is None else len(cells)
    earlier = np.full(number, -1)
    if before is not None:
        at, old = _same_cells(before, after)
        earlier[at] = np.arange(len(before.cells))[old]
    # A histogram changes with its count, and never later (on_entry in collector.bpf.c), so the others need not be read.
    changed = np.flatnonzero(interval.rows["count"][:number])
    found: list[tuple[npt.NDArray[Any], ...]] = [(np.zeros(0, "i4"), np.zeros(0, "u1"), np.zeros(0, "i8"))]
    new_hist = after.cells["hist"]
    old_hist = before.cells["hist"] if before is not None else new_hist[:0]
    for start in range(0, len(changed), _CHUNK):
        rows = changed[start : start + _CHUNK]
        new = _rows(new_hist, rows if cells is None else cells[rows])
        at = earlier[rows]
        if (at >= 0).all():
            old = _rows(old_hist, at)
        else:
            old = np.zeros((len(rows), BUCKETS), "u8")
            old[at >= 0] = old_hist[at[at >= 0]]
        filled = np.flatnonzero(new != old)
        row, bucket = filled >> 7, filled & (BUCKETS - 1)
        count = (new[row, bucket] - old[row, bucket]).view("i8")
        found.append((rows.astype("i4")[row], bucket.astype("u1"), count))
    return Buckets(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _rows(table: npt.NDArray[np.uint64], rows: I64) -> npt.NDArray[np.uint64]:
    """These rows, as a view where they lie side by side."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return table[first : last + 1]
    return table[rows]


def find(where: npt.NDArray[np.uint64], what: npt.NDArray[np.uint64]) -> I64:
    """The position of each of `what` in `where`; -1 where it is not."""
    if not len(where):
        return np.full(len(what), -1)
    if np.array_equal(where[: len(what)], what):  # as a rule
        return np.arange(len(what))
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
    row = which if snapshot is after else find(after.thread_ids, snapshot.thread_ids[which])
    which, row = which[row >= 0], row[row >= 0]
    rows = np.zeros(len(which), ROW)
    rows["reason"], rows["isa"] = snapshot.threads["reason"][which], snapshot.threads["isa"][which]
    rows["thread"] = row
    rows["time"], rows["user"] = sign * lasted[which], sign * user[which]
    rows["min"] = 2**63 - 1
    return rows


def is_one_of(rows: Array, codes: set[tuple[int, int]]) -> Mask:
    """Which rows have one of these (isa, reason); VMX's flag bits do not matter."""
    return _are(pack(rows["isa"], rows["reason"]), codes)


def _rows_of(interval: Interval, codes: set[tuple[int, int]]) -> Mask:
    """The same for all rows of an Interval, each reason looked at once."""
    distinct, column = interval.reasons
    mask: Mask = _are(distinct, codes)[column]
    return mask


def _are(keys: U64, codes: set[tuple[int, int]]) -> Mask:
    isa, reason = unpack(keys)
    basic = np.where(isa == VMX, reason & np.uint64(0xFFFF), reason)
    mask = np.zeros(len(keys), bool)
    for wanted, code in codes:
        mask |= (isa == wanted) & (basic == code)
    return mask


def _budget(interval: Interval) -> I64:
    after, before = interval.after, interval.before
    count = len(after.threads)
    there = interval.rows["thread"] >= 0
    rows, idle, interrupt = interval.rows, _rows_of(interval, IDLE), _rows_of(interval, INTERRUPT)
    kernel_ns = rows["time"] - rows["user"]

    def per_thread(mask: Mask, values: I64) -> I64:
        # Float sums are exact here: 2**53 ns are 104 days.
        return np.bincount(rows["thread"][mask], weights=values[mask], minlength=count).astype("i8")

    budget = np.zeros((count, len(PARTS)), "i8")
    guest, kernel, user, asleep, wait = budget.T
    guest += _guest(after)
    if before is not None:
        at = find(after.thread_ids, before.thread_ids)
        guest[at[at >= 0]] -= _guest(before)[at >= 0]
    kernel += per_thread(there & ~idle, kernel_ns)
    asleep += per_thread(there & idle, kernel_ns)
    user += per_thread(there, rows["user"])

    # Waiting for a CPU happened within the others. A vCPU is preempted by the host's interrupts, so it is
    # taken out of theirs first, then of idle (late wake-ups), then of what is left.
    delay = np.minimum(_delays(interval), interval.known)
    interrupts = per_thread(there & interrupt, kernel_ns)
    for part, most in ((kernel, interrupts), (asleep, asleep), (kernel, kernel), (user, user), (guest, guest)):
        taken = np.clip(np.minimum(delay, most), 0, None)
        part -= taken
        wait += taken
        delay = delay - taken
    return np.maximum(budget, 0)


def _delays(interval: Interval) -> I64:
    """Shape (threads,): ns that each thread waited for a CPU."""
    after, before = interval.after.run_delay, interval.before.run_delay if interval.before else {}
    tids = interval.after.threads["id"].astype("u4").tolist()
    waited: I64 = np.fromiter((after.get(tid, 0) - before.get(tid, 0) for tid in tids), "i8", len(tids))
    return np.maximum(waited, 0)


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
    if threads is not None:
        return _by_reason(interval, np.append(threads, False)[interval.rows["thread"]])  # thread -1: the False
    if "by_reason" not in interval.memo:
        interval.memo["by_reason"] = _by_reason(interval, np.ones(len(interval.rows), bool))
    return list(interval.memo["by_reason"])


def _by_reason(interval: Interval, mine: Mask) -> list[Reason]:
    distinct, column = interval.reasons
    which = np.flatnonzero(mine)
    if not len(which):
        return []
    # Of 16 bits: a sort of those takes time in proportion to their number.
    which = which[np.argsort(column[which].astype("u2"), kind="stable")]
    rows = interval.rows[which]
    first = np.flatnonzero(np.diff(column[which], prepend=-1))
    found = column[which[first]]
    sums = {name: np.add.reduceat(rows[name], first) for name in ("count", "time", "user", "total")}
    shortest, longest = np.minimum.reduceat(rows["min"], first), np.maximum.reduceat(rows["max"], first)
    hists = interval.buckets.sums(np.where(mine, column, -1), len(distinct))
    idle = _are(distinct, IDLE)
    reasons = []
    for i, at in enumerate(found.tolist()):
        isa, code = unpack(int(distinct[at]))
        seen = bool(longest[i])
        hist = hists[at]
        top = int(np.flatnonzero(hist > 0)[-1]) if (hist > 0).any() else None
        reasons.append(
            Reason(
                isa=isa,
                code=code,
                name=interval.after.names.name(isa, code),
                idle=bool(idle[at]),
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
    keys, column = snapshot.reasons
    count = snapshot.heads["count"]
    if threads is not None:
        mine = np.flatnonzero(snapshot.cell_ids)
        mine = mine[threads[snapshot.heads["thread"][mine]]]
        column, count = column[mine], count[mine]
    seen = np.bincount(column, minlength=len(keys))
    sums = np.bincount(column, count, len(keys))
    return {
        unpack(key): int(total)
        for key, cells, total in zip(keys.tolist(), seen.tolist(), sums.tolist(), strict=True)
        if cells
    }


def add_by_reason(cells: Array) -> Array:
    """One cell for each (isa, reason)."""
    keys = pack(cells["isa"], cells["reason"])
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    sums = np.zeros(len(first), CELL)
    for name in ("reason", "isa"):
        sums[name] = cells[name][first]
    sums["min"] = ~np.uint64(0)
    for name in ("count", "total", "user", "hist"):
        np.add.at(sums[name], group, cells[name])
    np.minimum.at(sums["min"], group, cells["min"])
    np.maximum.at(sums["max"], group, cells["max"])
    return sums


@dataclass(frozen=True)
class Tops:
    """The non-idle reason with the most time: position in `keys` for each thread and each VM (-1: none)."""

    keys: U64
    pids: I64  # of the VMs, ascending
    vm: I64  # shape (threads,): whose a thread is, as a position in pids
    of_thread: I64
    of_vm: I64


def tops(interval: Interval) -> Tops:
    """The reason with the most time of each thread and VM."""
    keys, column = interval.reasons
    rows = interval.rows
    which = (rows["thread"] >= 0) & ~_rows_of(interval, IDLE)
    threads, width = len(interval.after.threads), len(keys)
    pids, vm = np.unique(unpack(interval.after.threads["id"])[0].astype("i8"), return_inverse=True)

    def most(owner: I64, number: int) -> I64:
        if not width:
            return np.full(number, -1)
        times = np.bincount(owner * width + column[which], rows["time"][which], number * width).reshape(number, width)
        best = times.argmax(axis=1)
        return np.where(times[np.arange(number), best] > 0, best, -1)

    thread = rows["thread"][which]
    return Tops(keys, pids, vm, most(thread, threads), most(vm[thread], len(pids)))


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
        return "no VM runs here that is to be shown; exits show as soon as one starts"
    whose = "its" if running == 1 else "their"
    return f"{running} VM{'s' * (running != 1)} here, but none of {whose} vCPUs has left or entered the guest yet"
