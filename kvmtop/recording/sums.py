"""What was counted in stretches of runs: their ends' counters are subtracted, and what is in several is added.

A run's shortest and longest exits are of all of it. They are a stretch's own where it has a shorter or longer one than
came before it; else nothing tells, and they are UNKNOWN_MIN and UNKNOWN_MAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..model.arrays import Array, find
from ..model.exit_stats import UNKNOWN_MAX, UNKNOWN_MIN, add_by_reason
from ..model.keys import pack
from ..model.snapshot import CELL, THREAD, Snapshot
from ..model.vocabulary import OUTSIDE, Names
from .format import SCALARS

Piece = tuple[Snapshot | None, Snapshot]  # before it (None: it begins where the run does), and at its end


def total(pieces: Sequence[Piece], of_all: bool = True) -> Snapshot:
    """A Snapshot as if counting had begun and ended with these pieces of one host, by reason alone.

    of_all: not of some VMs, whose threads that ended long ago are in no Snapshot: without them, then.
    """
    *_, (_, last) = pieces
    cells = [_between(before, after, of_all) for before, after in pieces]
    counted = {name: sum(getattr(a, name) - (getattr(b, name) if b else 0) for b, a in pieces) for name in _COUNTED}
    names = Names({}, {})
    for _, one in pieces:
        reasons = {isa: {**names.reasons.get(isa, {}), **codes} for isa, codes in one.names.reasons.items()}
        names = Names({**names.reasons, **reasons}, {**names.flags, **one.names.flags})
    length = sum(after.time_ns - (before.time_ns if before else after.start_ns) for before, after in pieces)
    sums = add_by_reason(np.concatenate(cells)) if any(map(len, cells)) else np.zeros(0, CELL)
    return replace(
        last,
        start_ns=last.time_ns - length,
        threads=np.zeros(0, THREAD),
        thread_ids=np.zeros(0, "u8"),
        cells=sums,
        cell_ids=np.zeros(len(sums), "u8"),
        details=None,
        scheduling=None,
        stacks=None,
        names=names,
        **counted,
    )


def missing(before: Snapshot | None, after: Snapshot) -> int:
    """How many threads that ended between two Snapshots have no row in the later: collector.py keeps the last 256."""
    ended = after.ended_threads - (before.ended_threads if before else 0)
    there = int((after.threads["end_ns"] > np.uint64(before.time_ns if before else 0)).sum())
    gone = 0 if before is None else int((find(after.thread_ids, before.thread_ids) < 0).sum())
    return max(ended - there, gone)


_COUNTED = tuple(SCALARS.values())


def _between(before: Snapshot | None, after: Snapshot, of_all: bool) -> Array:
    """One cell a reason: exits that ended after `before`."""
    cells = after.cells
    if not len(cells):
        return np.zeros(0, CELL)
    cells = add_by_reason(cells)
    if before is None:
        return cells
    earlier = before.cells
    if not of_all:
        earlier = earlier[np.isin(before.cell_ids, after.cell_ids)]
    if not len(earlier):
        return cells
    earlier = add_by_reason(earlier)
    at = find(pack(earlier["isa"], earlier["reason"]), pack(cells["isa"], cells["reason"]))
    both, old = np.flatnonzero(at >= 0), earlier[at[at >= 0]]
    for name in ("count", "total", *OUTSIDE[1:], "hist"):
        cells[name][both] -= old[name]
    had = old["count"] > 0
    shortest, longest = cells["min"][both] < old["min"], cells["max"][both] > old["max"]
    cells["min"][both[had & ~shortest]] = UNKNOWN_MIN
    cells["max"][both[had & ~longest]] = UNKNOWN_MAX
    return cells[cells["count"] > 0]
