"""How much of each step of time a vCPU's thread was in which state, and who had a CPU: for the timeline page.

What nobody saw is unknown: it is no state's. Times: ns, CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..model.arrays import I64, Array
from ..model.timeline import RAN, Stretch
from ..model.vocabulary import STATES
from .timeline import SLICE, KernelSlices, clipped, guests

Floats = npt.NDArray[np.float64]
WAIT, THROTTLED = STATES.index("wait"), STATES.index("throttled")
# What a thread did for a while. withheld: of a wait, the share that its group's quota held back; row: of the Stretch's
# spans, or -1.
PIECE = np.dtype([*SLICE.descr, ("state", "i8"), ("withheld", "f8"), ("row", "i8")])
_NAMED = [*(SLICE.names or ())]


def spent(begin: I64, end: I64, edges: I64, weights: Floats | None = None) -> Floats:
    """ns between each two edges that these slices have (in order, without overlap), each ns counted so much."""
    if not len(begin):
        return np.zeros(len(edges) - 1)
    counted = np.ones(len(begin)) if weights is None else weights
    sums = np.concatenate([[0.0], np.cumsum((end - begin) * counted)])
    number = np.searchsorted(begin, edges, "right")  # that have begun
    last = np.maximum(number - 1, 0)
    still = np.where(number > 0, np.maximum(end[last] - edges, 0) * counted[last], 0.0)
    return np.diff(sums[number] - still)


class Track:
    """One thread's pieces, in order."""

    def __init__(self, thread: int, exits: Array, pieces: Array, start_ns: int) -> None:
        """exits: its own, by their beginning, as recorded; pieces: dtype PIECE; start_ns: from where times count."""
        self.thread, self.exits, self.pieces, self._start = thread, exits, pieces, start_ns

    def shares(self, edges: Iterable[int]) -> Floats:
        """Shape (steps, 8): of the time between each two edges the share of each of STATES, and of what is unknown."""
        at = self._at(edges)
        found = np.zeros((len(at) - 1, len(STATES) + 1))
        for state, (begin, end, weights) in self._by_state.items():
            found[:, state] = spent(begin, end, at, weights)
        found /= np.maximum(np.diff(at), 1)[:, None]
        found[:, -1] = np.maximum(1 - found.sum(axis=1), 0)
        return found

    def _at(self, edges: Iterable[int]) -> I64:
        return np.fromiter(edges, "i8") - self._start

    @cached_property
    def _by_state(self) -> dict[int, tuple[I64, I64, Floats | None]]:
        begin, end = (self.pieces[name].astype("i8") - self._start for name in ("begin_ns", "end_ns"))
        found: dict[int, tuple[I64, I64, Floats | None]] = {}
        for state in range(len(STATES)):
            mine = self.pieces["state"] == (WAIT if state == THROTTLED else state)
            withheld = self.pieces["withheld"][mine]
            weights = 1 - withheld if state == WAIT else withheld if state == THROTTLED else None
            found[state] = begin[mine], end[mine], weights
        return found

    def inside(self, begin: int, end: int) -> Array:
        """The pieces that lie in this time, as far as they do."""
        return clipped(self.pieces, begin, end)

    def at(self, ns: int) -> int | None:
        """Which exit is open then, or begins next, or is the last one; None without any."""
        if not len(self.exits):
            return None
        return min(int(np.searchsorted(self.exits["end_ns"], np.uint64(max(ns, 0)), "right")), len(self.exits) - 1)


class Tracks:
    """All that is to be seen of a stretch."""

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch

    @cached_property
    def of(self) -> dict[int, Track]:
        """By thread."""
        one = self.stretch
        pieces, exits = _pieces(one), _ordered(one.exits, "id")
        # Those that are not seen to begin or to be over are told, too; the guest's time alone is no exit.
        exits = exits[
            (exits["begin_ns"] < one.stop_ns) & (exits["end_ns"] > np.maximum(exits["begin_ns"], one.start_ns))
        ]
        threads = np.union1d(pieces["id"], exits["id"]).tolist()
        both = exits, pieces
        ranges = {
            thread: tuple(slice(*np.searchsorted(rows["id"], np.array([thread, thread + 1], "u8"))) for rows in both)
            for thread in threads
        }
        return {thread: Track(thread, exits[a], pieces[b], one.start_ns) for thread, (a, b) in ranges.items()}

    @cached_property
    def ran(self) -> dict[int, Array]:
        """By CPU who had it, dtype SPAN, in order."""
        one = self.stretch
        rows = clipped(one.spans[one.spans["state"] == RAN], one.start_ns, one.stop_ns)
        rows = _ordered(rows, "cpu")
        cpus = np.unique(rows["cpu"]).tolist()
        return {cpu: rows[slice(*np.searchsorted(rows["cpu"], [cpu, cpu + 1]))] for cpu in cpus}

    def tasks(self, cpu: int, edges: Iterable[int], most: int = 16) -> tuple[Array, Floats]:
        """Who had a CPU: a row of dtype SPAN for each of the threads that had it longest, and in the shape (steps,
        those) the share of the time between each two edges. What is left had others, or nobody."""
        at = np.fromiter(edges, "i8")
        rows = self.ran.get(cpu)
        if rows is None or not len(rows):
            return self.stretch.spans[:0], np.zeros((len(at) - 1, 0))
        rows = clipped(rows, int(at[0]), int(at[-1]))
        ids, first, which = np.unique(rows["id"], return_index=True, return_inverse=True)
        total = np.bincount(which, (rows["end_ns"] - rows["begin_ns"]).astype("f8"), len(ids))
        chosen = np.argsort(-total, kind="stable")[:most]
        start = self.stretch.start_ns
        begin, end = (rows[name].astype("i8") - start for name in ("begin_ns", "end_ns"))
        parts = [spent(begin[which == one], end[which == one], at - start) for one in chosen]
        shares = np.stack(parts, 1) if parts else np.zeros((len(at) - 1, 0))
        return rows[first[chosen]], shares / np.maximum(np.diff(at), 1)[:, None]


def _pieces(one: Stretch) -> Array:
    """Of all threads, by thread and beginning, without overlap."""
    rows = np.flatnonzero(one.spans["state"] != RAN)
    spans = one.spans[rows]
    length = np.maximum(spans["end_ns"].astype("i8") - spans["begin_ns"].astype("i8"), 1)
    inside = (spans["end_ns"] > one.start_ns) & (spans["begin_ns"] < one.stop_ns)
    others = _as_pieces(spans, 0)
    others["state"], others["row"] = spans["state"], rows
    waits = spans["state"] == WAIT
    others["withheld"] = np.where(waits, np.clip(spans["withheld"] / length, 0, 1), 0)
    others = clipped(others[inside], one.start_ns, one.stop_ns)
    found = [others]
    for state, whole in (
        (STATES.index("guest"), guests(one.exits, one.start_ns, one.stop_ns)),
        (STATES.index("kernel"), clipped(one.exits, one.start_ns, one.stop_ns)),
    ):
        found.append(_as_pieces(KernelSlices().add(whole, others), state))
    return _ordered(np.concatenate(found), "id")


def _ordered(rows: Array, name: str) -> Array:
    return rows[np.lexsort((rows["begin_ns"], rows[name]))]


def _as_pieces(rows: Array, state: int) -> Array:
    found = np.zeros(len(rows), PIECE)
    for name in _NAMED:
        found[name] = rows[name]
    found["state"], found["row"] = state, -1
    return found
