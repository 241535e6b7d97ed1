"""The samples of a store's segments on one axis of time, on which no run lies over another one.

An interval ends with a sample and begins with the one before in its run: that of the segment before, for a segment's
first. Intervals are numbered from 0, of those that are shown.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from ..model.arrays import I64
from ..model.snapshot import Snapshot
from .clock import ahead
from .segment import Run, Segment


class Axis:
    """times, begins: when each interval that is shown ends and begins, in ns on the axis; exits: that ended in it.

    There are `count` of them, and the first begins at `start_ns`.
    """

    def __init__(self, segments: Sequence[Segment], cut_off: Container[Path] = ()) -> None:
        """segments: run after run. cut_off: those before which their run had begun, in what is there no more.

        All intervals are shown.
        """
        counts = [len(one.times) for one in segments]
        self._firsts = np.cumsum([0, *counts])  # of each segment, among all samples
        self._of = np.repeat(np.arange(len(counts)), counts)
        self._exits = np.concatenate([one.exits for one in segments])
        time_ns = np.concatenate([one.times for one in segments])
        self._ends, self._begins, self._before = time_ns.copy(), np.empty_like(time_ns), np.arange(len(time_ns)) - 1
        self._shifts: dict[int, int] = {}  # of runs, by when they started
        shown = np.ones(len(time_ns), bool)
        newest: dict[Run, int] = {}  # its sample
        shift, last = 0, -(1 << 62)
        for number, one in enumerate(segments):
            begin, end = int(self._firsts[number]), int(self._firsts[number + 1])
            before = self._before[begin] = newest.get(one.run, -1)
            start = int(time_ns[before]) if before >= 0 else one.start_ns
            if before < 0:
                if one.path in cut_off:  # its first sample is what the others count from
                    shown[begin], start = False, int(time_ns[begin])
                shift = max(ahead(one) - ahead(segments[0]), last - start) if number else 0
            self._shifts[one.start_ns] = shift
            self._ends[begin:end] += shift
            self._begins[begin:end] = np.concatenate([[start], time_ns[begin : end - 1]]) + shift
            last = int(self._ends[end - 1])
            newest[one.run] = end - 1
        self._which = np.flatnonzero(shown)
        self.cut(0, len(self._which))

    def cut(self, first: int, end: int) -> None:
        """Show these of the intervals."""
        self._which = self._which[first:end]
        self.times: I64 = self._ends[self._which]
        self.begins: I64 = self._begins[self._which]
        self.exits: I64 = self._exits[self._which]
        self.count = len(self._which)
        self.start_ns = int(self.begins[0]) if self.count else 0

    def follows(self, n: int) -> bool:
        """Whether interval n goes on where the one before ended."""
        return n > 0 and bool(self._before[self._which[n]] == self._which[n - 1])

    def runs(self, first: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """Intervals first to end - 1, divided where one does not follow another: [(first, end), …]."""
        end = self.count if end is None else end
        which = self._which[first:end]
        starts = first + 1 + np.flatnonzero(self._before[which[1:]] != which[:-1])
        return list(zip([first, *starts.tolist()], [*starts.tolist(), end], strict=True))

    @property
    def played(self) -> I64:
        """When each interval ends in a replay, in ns from its beginning: gaps take no time."""
        played: I64 = np.cumsum(self.times - self.begins)
        return played

    def index(self, place: int) -> int:
        """The interval that has a place on the axis of `times`, in ns; after a gap, the first."""
        return min(int(np.searchsorted(self.times, place)), self.count - 1)

    def place(self, time_ns: int, like: Snapshot) -> int:
        """Where on that axis an instant of the clock of a Snapshot is."""
        return time_ns + self._shifts.get(like.start_ns, 0)
