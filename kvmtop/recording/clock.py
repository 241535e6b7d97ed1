"""When the samples of a store were taken by the host's clock as it was then, which may have been set on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ..model.arrays import I64
from .segment import Segment

STEP = 1.0  # s by which a clock is out that was set

Told = Callable[[int], int]  # a sample → what the clock showed, ns since 1970; 0: it does not tell


def ahead(one: Segment) -> int:
    """ns by which the clock of a segment's beginning was ahead of that of its samples."""
    return round(one.began * 1e9) - one.start_ns


class Clock:
    """wall: of each sample, ns since 1970, by its segment's beginning; corrected for those that are asked for."""

    def __init__(self, segments: list[Segment], firsts: I64, time_ns: I64) -> None:
        """firsts: the number of each segment's first sample, and of the one after the last; time_ns: of all samples."""
        self._segments, self._firsts = segments, firsts
        self.wall: I64 = time_ns + np.repeat([ahead(one) for one in segments], np.diff(firsts))
        self._lock = threading.Lock()
        self._measured = set[int]()

    def look(self, when: float, told: Told) -> int:
        """See whether clocks were set around then, s since 1970; `wall` is corrected. Of how many segments it is known.

        The next segment of its run tells it; of the last, its last sample. Raises KvmtopError.
        """
        with self._lock:
            for number, one in enumerate(self._segments):
                after = self._segments[number + 1] if number + 1 < len(self._segments) else None
                follower = after if after is not None and after.run == one.run else None
                if number in self._measured or (follower and abs(ahead(follower) - ahead(one)) < STEP * 1e9):
                    continue
                begin, end = int(self._firsts[number]), int(self._firsts[number + 1]) - 1
                lowest, highest = sorted((int(self.wall[begin]), int(self.wall[end])))
                if not (follower or lowest - 1e9 <= when * 1e9 <= highest + 1e9):
                    continue
                self._measured.add(number)
                self._measure(begin, end, told)
            return len(self._measured)

    def _measure(self, begin: int, end: int, told: Told) -> None:
        """The clock as it was at samples begin to end of one segment."""

        def error(sample: int) -> int:
            wall = told(sample)
            return wall - int(self.wall[sample]) if wall else 0

        parts = [(begin, end, error(begin), error(end))]
        while parts:
            first, last, one, other = parts.pop()
            if abs(one - other) < STEP * 1e9:
                self.wall[first : last + 1] += np.linspace(one, other, last - first + 1).astype("i8")
            elif last - first > 1:
                middle = (first + last) // 2
                between = error(middle)
                # The middle one is in the second part alone: each is corrected once.
                parts += [(first, middle - 1, one, error(middle - 1)), (middle, last, between, other)]
            else:
                self.wall[first] += one
                self.wall[last] += other
