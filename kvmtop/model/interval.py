"""Two Snapshots in, what happened between them out: pure functions.

Durations and times are ns. An open exit (a vCPU that has left the guest and not come back) counts with
the part of it that lies in the interval: a vCPU asleep shows as idle while it sleeps, not when it wakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import I64, U64, Array, Mask, find
from .histogram import BUCKETS, Buckets
from .keys import pack
from .reasons import among
from .snapshot import HEAD, Snapshot
from .vocabulary import NESTED, OUTSIDE, Key

# As HEAD, word for word, as far as that goes: copied and subtracted as a whole.
ROW = np.dtype(
    [
        ("reason", "u4"),
        ("isa", "u4"),
        ("thread", "i8"),  # row of the later Snapshot's threads; -1: ended long ago
        ("count", "i8"),  # exits that ended in the interval
        ("total", "i8"),  # ns: their durations
        *((state, "i8") for state in OUTSIDE[1:]),  # ns of `time`: with "kernel" all of it
        ("min", "i8"),  # since the start
        ("max", "i8"),
        ("time", "i8"),  # ns of the interval spent in such exits, open ones too
        ("kernel", "i8"),
    ]
)
_SUMS = slice(2, 4 + len(OUTSIDE[1:]))  # the words from `count` on that add up


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
        """Shape (threads, 7): ns of STATES for each thread of `after`; zeros for what is unknown (after.told)."""
        budget: I64 = self.after.threads["states"].astype("i8")
        if self.before is not None:
            at = find(self.after.thread_ids, self.before.thread_ids)
            budget[at[at >= 0]] -= self.before.threads["states"][at >= 0].astype("i8")
        return budget

    @cached_property
    def known(self) -> I64:
        """Shape (threads,): ns in which each thread was watched: what its states add up to, where they are told.

        That is not to the ns the interval, since threads are read one after the other.
        """
        if "kernel" in self.after.told:
            watched: I64 = self.budget.sum(axis=1)
            return watched
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

    def are(self, codes: set[Key]) -> Mask:
        """Which rows have one of these reasons; VMX's flags do not matter."""
        distinct, column = self.reasons
        mask: Mask = among(distinct, codes)[column]
        return mask

    @cached_property
    def buckets(self) -> Buckets:
        """The histograms of the rows: the exits that ended in the interval."""
        return _buckets(self)

    @cached_property
    def memo(self) -> dict[object, Any]:
        """What others have made of this interval and would make again."""
        return {}


def start_of(before: Snapshot | None, after: Snapshot) -> Snapshot | None:
    """What a Snapshot's interval counts from: the one that came before, unless that is of another run."""
    return before if before is not None and before.start_ns == after.start_ns else after.base


def diff(before: Snapshot | None, after: Snapshot) -> Interval:
    """What happened between two Snapshots of one source; since its start where `before` is None."""
    parts = [_open(after, after, 1)]
    cells = _cells(before, after)
    heads, ids = (after.heads, after.cell_ids) if cells is None else (after.heads[cells], after.cell_ids[cells])
    if before is not None:
        parts.append(_open(before, after, -1))
    number = len(heads)
    rows = np.empty(number + sum(map(len, parts)), ROW)
    rows[number:] = np.concatenate(parts)
    mine = rows[:number]
    numbers = words(mine)
    numbers[:, : HEAD.itemsize // 8] = words(heads)
    mine["thread"] = np.where(ids != 0, heads["thread"].astype("i8"), -1)
    mine["min"] = np.minimum(heads["min"], np.uint64(2**63 - 1))
    if before is not None:
        at, old = _same_cells(before, after)
        numbers[at, _SUMS] -= words(before.heads)[old, _SUMS]
    mine["time"] = mine["total"]
    mine["kernel"] = mine["total"] - numbers[:, _SUMS][:, 2:].sum(axis=1)
    if before is not None:
        _same_level(rows, number + len(parts[0]))
    return Interval(before, after, rows)


def _same_level(rows: Array, first: int) -> None:
    """Take what was open before from the level that it is of, which KVM tells a moment after the exit.

    first: where the rows of what was open before begin.
    """
    if not (rows["isa"] & NESTED).any():
        return
    for opened in rows[first:]:
        same = np.flatnonzero(
            (rows["thread"][:first] == opened["thread"]) & (rows["reason"][:first] == opened["reason"])
        )
        isas, times = rows["isa"][same], rows["time"][same]
        if len(same) and times[isas == opened["isa"]].sum() < -opened["time"]:
            opened["isa"] = isas[times.argmax()]


def words(rows: Array) -> I64:
    """Rows of a structured dtype, side by side, as numbers of 64 bits; shape (rows, words)."""
    return rows.view("i8").reshape(len(rows), rows.dtype.itemsize // 8)


def _cells(before: Snapshot | None, after: Snapshot) -> I64 | None:
    """The cells that have a row in an Interval; None for all. What ended long ago is in totals only."""
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


def open_ns(snapshot: Snapshot) -> I64:
    """Shape (threads,): ns that the open exit has lasted; 0 without one."""
    lasted: I64 = snapshot.threads["open"].sum(axis=1).astype("i8")
    return lasted


def _open(snapshot: Snapshot, after: Snapshot, sign: int) -> Array:
    """The open exits of a Snapshot as rows that add (or take away) their time so far."""
    lasted = open_ns(snapshot)
    which = np.flatnonzero(lasted)
    row = which if snapshot is after else find(after.thread_ids, snapshot.thread_ids[which])
    which, row = which[row >= 0], row[row >= 0]
    rows = np.zeros(len(which), ROW)
    rows["reason"], rows["isa"] = snapshot.threads["reason"][which], snapshot.threads["isa"][which]
    rows["thread"] = row
    rows["time"] = sign * lasted[which]
    for state, ns in zip(OUTSIDE, snapshot.threads["open"][which].T, strict=True):
        rows[state] = sign * ns.astype("i8")
    rows["min"] = 2**63 - 1
    return rows
