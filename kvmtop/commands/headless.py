"""Reading without a screen: when, and the tables that are printed of it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ..ending import Ending
from ..errors import tell
from ..insight.caveats import silence
from ..model.snapshot import Snapshot
from ..model.source import Source
from ..output.batch import EVERYTHING, Batch
from ..reference.labels import Labels
from ..tables.row_choice import RowChoice

SLOW_EVERY = 0.1  # seconds, in which --slow prints what has come


@dataclass(frozen=True)
class Schedule:
    """When a live host is read: every so many seconds, for so many."""

    interval: float = 1.0
    duration: float | None = None

    def readings(self, source: Source, ending: Ending, slow: Batch | None = None) -> Iterator[Snapshot]:
        """Readings as they are due. slow: it prints slow exits in between, as they come."""
        most = SLOW_EVERY if slow else math.inf
        start = time.monotonic()
        end = start + self.duration if self.duration else math.inf
        due = start
        if slow:
            slow.begin(source.read())
        while not ending.is_set() and due < end:
            due = max(due + self.interval, time.monotonic())
            due = due if end - due > self.interval / 100 else end  # sums of floats miss the end by a hair
            while (left := due - time.monotonic()) > 0 and not ending.wait(min(left, most)):
                if slow:
                    slow.slow(source.slow())
            yield source.read()


@dataclass(frozen=True)
class Replay:
    """When a recording is read: all of it at once, or in its own time, where somebody scrapes. times: in ns."""

    times: Sequence[int]
    timed: bool

    def readings(self, source: Source, ending: Ending, slow: Batch | None = None) -> Iterator[Snapshot]:
        """All of it, from its beginning to its end."""
        start, last = time.monotonic() - self.times[0] / 1e9, None
        for due in self.times:
            if ending.wait(max(start + due / 1e9 - time.monotonic(), 0) if self.timed else 0):
                return
            snapshot = source.read()
            if (this := (snapshot.start_ns, snapshot.time_ns)) != last:  # of what is thinned meanwhile, there are fewer
                yield snapshot
            last = this


@dataclass(frozen=True)
class Tables:
    """Tables of the reasons, and of these kinds of what exits touched. slow: also slow exits, as they come."""

    labels: Labels
    choice: RowChoice | None = None
    kinds: Collection[str] = ()
    slow: bool = False


def follow(source: Source, ending: Ending, *, schedule: Schedule | Replay, tables: Tables | None) -> None:
    """Read until it ends, and print what shall be. Raises KvmtopError and OSError."""
    batch = None
    if tables:
        choice = tables.choice or EVERYTHING
        batch = Batch(sys.stdout, tables.labels, tables.kinds, source.origin, choice)
    warned = False
    for snapshot in schedule.readings(source, ending, batch if tables and tables.slow else None):
        if batch:
            batch.origin = source.origin  # of a store, each run's
            batch.write(snapshot)
        why = silence(snapshot)
        if why and not warned:
            tell(why)
            warned = True
