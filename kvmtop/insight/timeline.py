"""What vCPUs' threads do one after the other: slices that cover a stretch of time, without a hole and without overlap.

On the first level a thread is in the guest or in an exit; an exit is divided into slices of the kernel and the others.
"""

from __future__ import annotations

import numpy as np

from ..model.arrays import I64, U64, Array, Mask

# A stretch of one thread.
SLICE = np.dtype([("id", "u8"), ("begin_ns", "u8"), ("end_ns", "u8")])


def clipped(rows: Array, start: int, stop: int) -> Array:
    """Records as far as they are between two instants; those with nothing in between are left out."""
    found = rows[(rows["end_ns"] > start) & (rows["begin_ns"] < stop)].copy()
    found["begin_ns"] = np.maximum(found["begin_ns"], start)
    found["end_ns"] = np.minimum(found["end_ns"], stop)
    return found[found["begin_ns"] < found["end_ns"]]


def guests(exits: Array, start: int, stop: int) -> Array:
    """When their threads were in the guest before these exits, where that is known: dtype SLICE."""
    known = exits[exits["guest_ns"] > 0]
    found = np.zeros(len(known), SLICE)
    found["id"], found["begin_ns"], found["end_ns"] = known["id"], known["guest_ns"], known["begin_ns"]
    return clipped(found, start, stop)


class KernelSlices:
    """Divides exits piece by piece: what of them no other state has is the kernel's."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, SLICE)  # spans whose exit has not been told yet

    def add(self, exits: Array, spans: Array) -> Array:
        """The kernel's slices of these exits, dtype SLICE; both have been clipped in the same way.

        spans: of threads; those of these exits are among them or the ones before. Some may be in no exit.
        """
        others = np.concatenate([self._waiting, _slices(spans)])
        exits = _slices(exits)
        order = np.lexsort((exits["begin_ns"], exits["id"]))
        exits = exits[order]
        at = _last(exits, others)
        mine = at >= 0
        mine[mine] = others["end_ns"][mine] <= exits["end_ns"][at[mine]]
        inside = others[mine]
        # Those of exits that are not over: nothing of their thread has been told that is later.
        newest = _newest(exits, others["id"])
        self._waiting = others[~mine & (others["begin_ns"] >= newest)]
        starts = np.concatenate([exits[["id", "begin_ns"]].copy(), _named(inside, "end_ns", "begin_ns")])
        ends = np.concatenate([_named(inside, "begin_ns", "end_ns"), exits[["id", "end_ns"]].copy()])
        found = np.zeros(len(starts), SLICE)
        by_start = np.lexsort((starts["begin_ns"], starts["id"]))
        by_end = np.lexsort((ends["end_ns"], ends["id"]))
        found["id"], found["begin_ns"] = starts["id"][by_start], starts["begin_ns"][by_start]
        found["end_ns"] = ends["end_ns"][by_end]
        return found[found["begin_ns"] < found["end_ns"]]


def _slices(rows: Array) -> Array:
    found = np.zeros(len(rows), SLICE)
    for name in SLICE.names or ():
        found[name] = rows[name]
    return found


def _named(rows: Array, source: str, target: str) -> Array:
    found = np.zeros(len(rows), [("id", "u8"), (target, "u8")])
    found["id"], found[target] = rows["id"], rows[source]
    return found


def _last(exits: Array, others: Array) -> I64:
    """Of each, the last of these exits (by thread and beginning) of its thread that does not begin later; or -1."""
    keys = np.concatenate([exits, others])
    kind = np.repeat([0, 1], [len(exits), len(others)])
    order = np.lexsort((kind, keys["begin_ns"], keys["id"]))
    number = np.maximum.accumulate(np.where(order < len(exits), order, -1)) if len(order) else order
    at = np.empty(len(order), "i8")
    at[order] = number
    at = at[len(exits) :]
    at[at >= 0] = np.where(exits["id"][at[at >= 0]] == others["id"][at >= 0], at[at >= 0], -1)
    return at


def _newest(exits: Array, ids: U64) -> U64:
    """When the last of these exits of each of these threads ended; 0 without one."""
    if not len(exits):
        return np.zeros(len(ids), "u8")
    ends = np.flatnonzero(np.append(exits["id"][1:] != exits["id"][:-1], True))
    at = np.minimum(np.searchsorted(exits["id"][ends], ids), len(ends) - 1)
    return np.where(exits["id"][ends[at]] == ids, exits["end_ns"][ends[at]], np.uint64(0)).astype("u8")


def joined(stretches: I64) -> I64:
    """Stretches (begin, end; shape (n, 2)) without overlaps, in order."""
    if not len(stretches):
        return stretches
    ordered = stretches[np.argsort(stretches[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    first = np.append(True, ordered[1:, 0] > ends[:-1])
    return np.stack([ordered[first, 0], ends[np.append(first[1:], True)]], axis=1)


def touching(rows: Array, stretches: I64) -> Mask:
    """Which of these slices have something in one of these stretches, as joined() has them."""
    if not len(stretches):
        return np.zeros(len(rows), bool)
    at = np.searchsorted(stretches[:, 1], rows["begin_ns"].astype("i8"), side="right")
    inside = at < len(stretches)
    inside[inside] = stretches[at[inside], 0] < rows["end_ns"][inside].astype("i8")
    return inside
