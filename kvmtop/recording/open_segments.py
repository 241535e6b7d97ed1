"""The open files of a store's segments, a few at a time: each as it was when it was listed, or thinned since."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ..errors import KvmtopError
from ..model.selection import Selection
from .reader import Recording
from .segment import Segment

MOST_OPEN = 3  # each with some unpacked Snapshots


class OpenSegments:
    """By number. lock: held while one of them is read, since another thread may want one more."""

    def __init__(self, segments: Sequence[Segment], chosen: tuple[tuple[int, ...], Selection]) -> None:
        """chosen: the VMs to see, as Recording takes them."""
        self.lock = threading.RLock()
        self._segments, self._chosen = segments, chosen
        self._open: OrderedDict[int, Recording] = OrderedDict()
        self._thinned = frozenset[int]()  # of those that are open, what was thinned since it was listed

    def twin(self) -> OpenSegments:
        """The same for another thread, with files of its own."""
        return OpenSegments(self._segments, self._chosen)

    def __len__(self) -> int:
        return len(self._open)

    def put(self, number: int, recording: Recording) -> None:
        """One that is open already."""
        self._open[number] = recording

    def __getitem__(self, number: int) -> Recording:
        """Raises KvmtopError where it is not there any more, or is another file."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        one = self._segments[number]
        found = Recording(one.path, *self._chosen)
        same = np.array_equal(found.times[: len(one.times)], one.times)  # it may have become longer
        left = found.times[found.times <= one.times[-1]]
        if not same and not (found.step and found.start_ns == one.start_ns and np.isin(left, one.times).all()):
            found.free()
            raise KvmtopError(f"{one.path} is another file than it was")
        self._open[number] = found
        self._thinned = self._thinned - {number} if same else self._thinned | {number}
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].free()
        return found

    def left(self, number: int, n: int, begins: bool = False) -> int:
        """Which sample the n-th of a segment has become: of one that was thinned the next that is left, or the one
        before if an interval begins with it: that of which it is a part, then. Raises KvmtopError."""
        recording = self[number]
        if number not in self._thinned:
            return n
        times = self._segments[number].times
        found = int(np.searchsorted(recording.times, times[n], "right")) - 1
        return found if begins or recording.times[found] == times[n] else found + 1

    def free(self) -> None:
        """Close them."""
        for recording in self._open.values():
            recording.free()
