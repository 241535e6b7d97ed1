"""What exits of each reason came to, in an Interval or since the start. Durations and times are ns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import I64, U64, Array, Mask
from .histogram import bucket_bounds, percentile
from .interval import ROW, Interval, words
from .keys import pack, unpack
from .snapshot import Snapshot
from .vocabulary import OUTSIDE, Key

UNKNOWN_MIN, UNKNOWN_MAX = 0, 2**63 - 1  # of a cell: nothing tells how long its shortest and longest exit were
NOT_ITS_DOING = ("wait", "throttled")  # the scheduler's, whatever the exit was for


@dataclass(frozen=True)
class Reason:
    """One exit reason of one scope over one Interval; None is unknown."""

    isa: int
    code: int
    name: str
    seconds: float
    count: int
    time: int  # ns of the interval, open exits too
    parts: Mapping[str, int]  # ns of it in each of OUTSIDE that is told
    total: int  # ns: durations of the `count` exits
    min: int | None  # ns, since the start
    max: int | None  # ns; of the interval, from the histogram where no longer one came before
    hist: tuple[int, ...]  # of the `count` exits
    halts: int = 0  # ns of it that stand for idle where `parts` does not tell: an old recording's halts

    @cached_property
    def key(self) -> tuple[int, int]:
        """What identifies the reason across Intervals."""
        return self.isa, self.code

    @property
    def halted(self) -> int:
        """ns of its time."""
        return self.parts.get("idle", self.halts)

    @cached_property
    def idle(self) -> bool:
        """Whether most of its time was spent halted."""
        return 2 * self.halted > self.time

    @property
    def busy(self) -> int:
        """ns of its time that the vCPU was not halted."""
        return self.time - self.halted

    @cached_property
    def own(self) -> int:
        """ns of its time that are its own doing: kernel, user and blocked; of an idle one what it was halted.

        Where states are not told, all that is not known to be something else.
        """
        return self.halted if self.idle else self.busy - sum(self.parts.get(state, 0) for state in NOT_ITS_DOING)

    @property
    def rate(self) -> float:
        """Exits a second."""
        return self.count / self.seconds

    @property
    def time_rate(self) -> float:
        """ns a second."""
        return self.time / self.seconds

    @property
    def own_rate(self) -> float:
        """ns a second."""
        return self.own / self.seconds

    @property
    def avg(self) -> float | None:
        """ns."""
        return self.total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The duration in ns below which this share (0 to 1) of the exits stayed, within 12.5 %."""
        return percentile(self.hist, share, self.min, self.max)


def own_time(rows: Array, idle: bool) -> I64:
    """ns of rows of an Interval (dtype ROW) that are their reason's own, as Reason.own; idle: whether it is."""
    own: I64 = rows["idle"] if idle else rows["time"] - rows["idle"] - sum(rows[state] for state in NOT_ITS_DOING)
    return own


class Groups:
    """Rows put together by reason: all sums by reason are made here."""

    def __init__(self, column: npt.NDArray[np.integer]) -> None:
        """column: shape (rows,), which reason each row has, as its position among the reasons."""
        # Of 16 bits: a sort of those takes time in proportion to their number.
        self.order = np.argsort(column.astype("u2"), kind="stable")
        column = column[self.order]
        self.first = np.flatnonzero(np.diff(column, prepend=-1))
        self.found = column[self.first]  # the reasons that have rows, ascending

    def keys(self, reasons: U64) -> list[Key]:
        """(isa, code) of those that have rows, of all reasons, packed."""
        return [unpack(key) for key in reasons[self.found].tolist()]

    def add(self, values: Any) -> Any:
        """The sums of each group; values: shape (rows, …)."""
        return np.add.reduceat(values[self.order], self.first, axis=0)

    def least(self, values: Any) -> Any:
        """The smallest value of each group."""
        return np.minimum.reduceat(values[self.order], self.first)

    def most(self, values: Any) -> Any:
        """The largest value of each group."""
        return np.maximum.reduceat(values[self.order], self.first)


def by_reason(interval: Interval, threads: Mask | None = None) -> list[Reason]:
    """The reasons seen so far by the threads of a mask (None: all, those that ended long ago too), by code."""
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
    groups = Groups(column[which])
    # All columns at once: a column of its own is read from memory as slowly as all of them.
    numbers = words(interval.rows)[which[groups.order]]
    added = np.add.reduceat(numbers, groups.first, axis=0).view(ROW)[:, 0]
    sums = {name: added[name].tolist() for name in ("count", "time", "total", *OUTSIDE)}
    rows = numbers.view(ROW)[:, 0]
    shortest = np.minimum.reduceat(rows["min"], groups.first).tolist()
    longest = np.maximum.reduceat(rows["max"], groups.first).tolist()
    told = [state for state in OUTSIDE if state in interval.after.told]
    hists = interval.buckets.sums(np.where(mine, column, -1), len(distinct))
    reasons = []
    for i, (at, (isa, code)) in enumerate(zip(groups.found.tolist(), groups.keys(distinct), strict=True)):
        hist = hists[at]
        top = int(np.flatnonzero(hist > 0)[-1]) if (hist > 0).any() else None
        reasons.append(
            Reason(
                isa=isa,
                code=code,
                name=interval.after.names.name(isa, code),
                seconds=interval.seconds,
                count=sums["count"][i],
                time=sums["time"][i],
                parts={state: sums[state][i] for state in told},
                total=sums["total"][i],
                min=(shortest[i] or None) if longest[i] else None,
                max=None if top is None or longest[i] == UNKNOWN_MAX else min(longest[i], bucket_bounds(top)[1]),
                hist=tuple(hist.tolist()),
                halts=sums["idle"][i],
            )
        )
    return reasons


def counts(snapshot: Snapshot, threads: Mask | None = None) -> dict[Key, int]:
    """Exits by (isa, reason) since the source began, of the threads of a mask (None: all, those of long ago too)."""
    keys, column = snapshot.reasons
    count = snapshot.heads["count"]
    if threads is not None:
        mine = np.flatnonzero(snapshot.cell_ids)
        mine = mine[threads[snapshot.heads["thread"][mine]]]
        column, count = column[mine], count[mine]
    groups = Groups(column)
    return dict(zip(groups.keys(keys), groups.add(count).tolist(), strict=True))


def add_by_reason(cells: Array) -> Array:
    """One cell for each (isa, reason), in ascending order."""
    groups = Groups(np.unique(pack(cells["isa"], cells["reason"]), return_inverse=True)[1])
    sums = cells[groups.order[groups.first]]
    sums["thread"] = sums["next"] = 0
    for name in ("count", "total", *OUTSIDE[1:], "hist"):
        sums[name] = groups.add(cells[name])
    sums["min"], sums["max"] = groups.least(cells["min"]), groups.most(cells["max"])
    return sums


@dataclass(frozen=True)
class Tops:
    """The reason with the most time: position in `keys` for each thread and each VM (-1: none)."""

    keys: U64
    pids: I64  # of the VMs, ascending
    vm: I64  # shape (threads,): whose a thread is, as a position in pids
    of_thread: I64
    of_vm: I64


def tops(interval: Interval, waiting: bool = False) -> Tops:
    """The reason with the most time of each thread and VM, idle time aside. waiting: for a CPU counts, too."""
    keys, column = interval.reasons
    rows = interval.rows
    which = rows["thread"] >= 0
    counted = rows["time"] - rows["idle"] if waiting else own_time(rows, False)
    threads, width = len(interval.after.threads), len(keys)
    pids, vm = np.unique(unpack(interval.after.threads["id"])[0].astype("i8"), return_inverse=True)

    def most(owner: I64, number: int) -> I64:
        if not width:
            return np.full(number, -1)
        times = np.bincount(owner * width + column[which], counted[which], number * width).reshape(number, width)
        best = times.argmax(axis=1)
        return np.where(times[np.arange(number), best] > 0, best, -1)

    thread = rows["thread"][which]
    return Tops(keys, pids, vm, most(thread, threads), most(vm[thread], len(pids)))
