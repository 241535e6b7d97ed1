"""Several recordings of one host as one: the segments of a store, a directory that kvmtop writes on and on.

Each segment is a recording by itself. Those of one run follow each other without a hole: their counters go on, so that
the interval over the border of two is exact. Another run counts anew, and what was between them nobody has seen: no
interval spans that. Intervals are numbered from the store's first to its last.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import I64, Array
from ..model.keys import unpack
from ..model.provenance import Origin
from ..model.selection import ALL_VMS, Selection, only
from ..model.snapshot import SLOW, Snapshot
from ..model.vocabulary import DetailRequest
from . import moment, segment
from .axis import Axis
from .clock import Clock, ahead
from .open_segments import OpenSegments
from .reader import Empty, Recording
from .segment import Segment
from .sums import Piece, missing, total

MOST_SEGMENTS = 20_000
MOST_LONGEST = 1_000  # slow exits of a segment, among which those of chosen VMs are looked for


class Dropped(KvmtopError):
    """A segment is not there any more: who writes the store has dropped it. on: the next interval that is whole."""

    def __init__(self, path: Path, on: int) -> None:
        super().__init__(f"{path} is not there any more: what writes the store has dropped it")
        self.on = on


class Store(Axis):
    """Iterating gives the Snapshots. They are a Source's, too: read() gives one after the other, from `base` on."""

    busy = ""

    def __init__(self, path: Path, pids: Sequence[int] = (), selection: Selection = ALL_VMS) -> None:
        """A directory of segments, or a single recording. pids and selection: the VMs to see. Raises KvmtopError."""
        self.path, self._pids, self._selection = path, frozenset(pids), selection
        self._left_out: list[str] = []
        self._chosen, self._single = bool(pids or selection.patterns), not path.is_dir()
        self._of_file = (tuple(pids), selection) if self._single else ((), ALL_VMS)
        segments: list[Segment] = []
        if not self._single:
            if not (files := segment.paths(path)):
                raise KvmtopError(f"{path} has no recordings (FILE.kvmtop) in it", 2)
            for file in files[-MOST_SEGMENTS:]:
                try:
                    segments.append(Segment.read(file, set(pids), selection))
                except Empty as error:
                    if file != files[-1]:  # or it is the next one, before its first sample
                        self._left_out.append(str(error))
                except KvmtopError as error:
                    self._left_out.append(str(error))
            if not segments:
                raise KvmtopError(self._left_out[-1] if self._left_out else f"{path} has no interval yet", 2)
            if not any(one.wanted for one in segments):
                whom = f"process id {', '.join(map(str, pids))}" if pids else f"name {' or '.join(selection.patterns)}"
                raise KvmtopError(f"{path} has no VM with the {whom}", 2)
        else:
            recording = Recording(path, pids, selection)
            segments.append(Segment.of(recording))
        self._begin(segments)
        if self._single:
            self._open.put(0, recording)

    @classmethod
    def of(cls, recording: Recording) -> Store:
        """A single recording that is open."""
        store = cls.__new__(cls)
        store.path, store._pids, store._selection, store._left_out = recording.path, frozenset(), ALL_VMS, []
        store._chosen, store._single = False, True
        store._of_file = tuple(recording._pids), recording._selection
        store._begin([Segment.of(recording)])
        store._open.put(0, recording)
        return store

    def twin(self) -> Store:
        """The same for another thread, with files of its own."""
        other = copy.copy(self)
        other._open = self._open.twin()
        return other

    def _begin(self, segments: list[Segment]) -> None:
        self._next = 0
        # What is known of the clock, and when intervals began and ended by that.
        self._walls: tuple[int, I64, I64] | None = None
        self._reading: segment.Run | None = None
        self._segments = self._in_order(segments)
        self._open = OpenSegments(self._segments, self._of_file)
        super().__init__(self._segments, self._cut_offs)
        if not self.count:
            raise KvmtopError(f"{self.path} has a single reading, and no interval yet", 2)
        self._clock = Clock(self._segments, self._firsts, np.concatenate([one.times for one in self._segments]))

    def _in_order(self, segments: list[Segment]) -> list[Segment]:
        """Run after run, by when they were first seen; without what tells the same twice, or cannot be read."""
        self._cut_offs = set[Path]()
        began: dict[segment.Run, int] = {}
        for one in segments:
            began[one.run] = min(ahead(one) + int(one.times[0]), began.get(one.run, 1 << 62))
        kept: list[Segment] = []
        newest: dict[segment.Run, int] = {}
        for one in sorted(segments, key=lambda one: (began[one.run], one.run, int(one.times[0]), one.path.name)):
            if int(one.times[0]) <= newest.get(one.run, -1):
                self._left_out.append(f"{one.path} has what another segment has, too: it is left out")
                continue
            if one.run not in newest and not self._single:
                try:
                    if _cut_off(one):
                        self._cut_offs.add(one.path)
                except KvmtopError as error:
                    self._left_out.append(str(error))
                    continue
            newest[one.run] = int(one.times[-1])
            kept.append(one)
        if not kept:
            raise KvmtopError(self._left_out[-1])
        return kept

    def cut(self, first: int, end: int) -> None:
        """Show these of the intervals."""
        super().cut(first, end)
        self._walls = None

    def between(self, begin: float | None, end: float | None) -> Self:
        """Show the intervals that are wholly between two moments (s since 1970) alone. Raises KvmtopError."""
        self.cut(*self.within(begin, end))
        return self

    def within(self, begin: float | None, end: float | None) -> tuple[int, int]:
        """Those intervals, first and last + 1. Raises KvmtopError."""
        first = 0 if begin is None else self.find(begin)
        while begin is not None and first < self.count and self._wall_begin(first) < begin - 1e-6:
            first += 1
        last = self.count if end is None else self.find(end) + 1
        while end is not None and last > first and self.wall(last - 1) > end + 1e-6:
            last -= 1
        if last <= first:
            ends = " to ".join(moment.words(one) for one in (begin, end) if one is not None)
            raise KvmtopError(f"no whole interval of {self.path} lies within {ends}: it has {self.span}", 2)
        return first, last

    def only(self, n: int) -> None:
        """Show interval n alone."""
        self.cut(n, n + 1)

    # What it is

    @property
    def origin(self) -> Origin:
        """Of what was read last; the same recording for all."""
        return self.origin_of(max(self._next - 1, 0))

    def origin_of(self, n: int) -> Origin:
        """Of interval n."""
        first, mine = self._segments[0], self._segment(n)
        if len(self._segments) == 1:
            return mine.origin
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(self._clock.wall[0]) / 1e9))
        return replace(mine.origin, recording=f"{first.origin.host}, {self.path.resolve().name}, from {when}")

    @property
    def trouble(self) -> str | None:
        """What of it is not there."""
        if not self._left_out:
            return None
        more = len(self._left_out) - 1
        return self._left_out[0] + (f"; and {more} more file{'s' * (more != 1)}" if more else "")

    @property
    def base(self) -> Snapshot | None:
        """What the first interval counts from; None: from the start. Raises KvmtopError."""
        return self.before(0)

    @property
    def span(self) -> str:
        """From when to when it is, for people."""
        return f"{moment.words(self.first)} to {moment.words(self.last)}"

    @property
    def first(self) -> float:
        """When it begins, s since 1970."""
        return self._wall_begin(0)

    @property
    def last(self) -> float:
        """When it ends."""
        return int(self._clock.wall[self._which[-1]]) / 1e9

    # Intervals

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Snapshot]:
        return (self.at(n) for n in range(self.count))

    def at(self, n: int) -> Snapshot:
        """The Snapshot at the end of interval n, from 0. Raises KvmtopError."""
        return self._sample(int(self._which[n]))

    def before(self, n: int) -> Snapshot | None:
        """The one at its beginning; None where it begins with its run. Raises KvmtopError."""
        sample = int(self._before[self._which[n]])
        return self._sample(sample, begins=True) if sample >= 0 else None

    def run(self, n: int) -> segment.Run:
        """Which run interval n is of."""
        return self._segment(n).run

    def gap(self, n: int) -> str:
        """What nobody has seen before interval n, in words; empty where there is nothing between."""
        if n == 0 or self.begins[n] <= self.times[n - 1]:
            return ""
        return (
            f"nothing was recorded from {moment.words(int(self._clock.wall[self._which[n - 1]]) / 1e9)}"
            f" to {moment.words(self._wall_begin(n))}"
        )

    def clock(self, snapshot: Snapshot) -> float:
        """When a Snapshot of it was taken by the host's clock as it was then, s since 1970."""
        near = self.index(self.place(snapshot.time_ns, snapshot))
        return self._segment(near).origin.wall(snapshot)

    def _segment(self, n: int) -> Segment:
        return self._segments[int(self._of[self._which[n]])]

    def _sample(self, sample: int, begins: bool = False) -> Snapshot:
        """A sample, or what is left of it."""
        number = int(self._of[sample])
        with self._open.lock:
            try:
                left = self._open.left(number, sample - int(self._firsts[number]), begins)
                snapshot = self._open[number].at(left)
            except KvmtopError:
                if self._segments[number].path.exists():
                    raise
                before = self._before[self._which]
                there = (self._of[self._which] > number) & ((before < 0) | (self._of[before] > number))
                later = np.flatnonzero(there)
                raise Dropped(self._segments[number].path, int(later[0]) if len(later) else -1) from None
        return self._only(snapshot)

    def _only(self, snapshot: Snapshot) -> Snapshot:
        """The part of a Snapshot that is of the chosen VMs; a single recording has chosen them itself."""
        if not self._chosen or self._single:
            return snapshot
        pids = self._pids or snapshot.vms.keys()
        return only(snapshot, {pid for pid in self._selection.pids(snapshot.vms) if pid in pids})

    # By the clock

    def wall(self, n: int) -> float:
        """When interval n ended by the host's clock as it was then, s since 1970. Raises KvmtopError."""
        return self._segment(n).origin.wall(self.at(n))

    def _wall_begin(self, n: int) -> float:
        return (int(self._clock.wall[self._which[n]]) - int(self.times[n]) + int(self.begins[n])) / 1e9

    def moment(self, text: str, now: float | None = None, after: float | None = None) -> float:
        """What somebody means who writes this, s since 1970. Raises KvmtopError."""
        return moment.moment(text, self.last, time.time() if now is None else now, after=after)

    def seek(self, text: str, now: float | None = None) -> int:
        """The interval that has a moment; after a gap in which it is, the first. Raises KvmtopError."""
        when = self.moment(text, now)
        if not self.first <= when <= self.last:
            raise KvmtopError(f"{text} ({moment.words(when)}) is not in {self.path}, which has {self.span}", 2)
        return self.find(when)

    def stretch(self, begin: str, end: str, now: float | None = None) -> Self:
        """Show what is from one moment to another, each as somebody writes it, or empty. Raises KvmtopError."""
        self.cut(*self.range(begin, end, now))
        return self

    def range(self, begin: str, end: str, now: float | None = None) -> tuple[int, int]:
        """The intervals of that, first and last + 1. Raises KvmtopError."""
        start = self.moment(begin, now) if begin else None
        stop = self.moment(end, now, after=start) if end else None
        if (stop is not None and stop <= self.first) or (start is not None and start >= self.last):
            text = begin if start is not None and start >= self.last else end
            raise KvmtopError(f"{text} is not in {self.path}, which has {self.span}", 2)
        if start is not None and stop is not None and stop <= start:
            raise KvmtopError(f"{end} is not after {begin}", 2)
        return self.within(start, stop)

    def find(self, when: float) -> int:
        """The interval that has an instant, s since 1970: of several (the clock was put back) the last; the next where
        none has it. Raises KvmtopError."""
        known = self._clock.look(when, self._told)
        if self._walls is None or self._walls[0] != known:
            ends = self._clock.wall[self._which]
            self._walls = known, ends - (self.times - self.begins), ends
        _, begins, ends = self._walls
        ns = round(when * 1e9)
        ended = ends >= ns
        if len(inside := np.flatnonzero(ended & (begins < ns))):
            return int(inside[-1])
        return int(ended.argmax()) if ended.any() else self.count - 1

    def _told(self, sample: int) -> int:
        """What the clock showed at a sample, ns since 1970, by the one that is left of it; 0: it does not tell."""
        snapshot, number = self._sample(sample), int(self._of[sample])
        later = snapshot.time_ns - int(self._segments[number].times[sample - int(self._firsts[number])])
        return snapshot.wall_ns - later if snapshot.wall_ns else 0

    # As a Source

    def read(self) -> Snapshot:
        """The next Snapshot; after the last one, that one again. Raises KvmtopError."""
        while True:
            n = min(self._next, self.count - 1)
            try:
                snapshot = self.at(n)
            except Dropped as gone:
                self._left_out.append(str(gone))
                if gone.on < 0:
                    raise
                self._next = gone.on
                continue
            # Whoever reads it compares it with what was read before, unless that is of another run.
            goes_on, self._next, self._reading = self.run(n) == self._reading, n + 1, self.run(n)
            before = None if goes_on else self.before(n)
            return replace(snapshot, base=before) if before else snapshot

    def look(self, look: DetailRequest | None) -> None:
        """It tells what was looked at when it was made."""

    def slow(self) -> Array:
        """They come with the Snapshots."""
        return np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        """What was counted in all of it, as if it were one run: the final Snapshot where it is all of one."""
        try:
            return self._total()
        finally:
            self.free()

    def free(self) -> None:
        """Nothing more is read of it."""
        self._open.free()

    def sum(self) -> Snapshot:
        """What was counted in all intervals, by reason alone: a final reading, after the last one, is not in it."""
        if self._chosen:  # what is gone is not in what threads that ended long ago have left
            return total(list(self.parts()), of_all=False)
        return total([(self.before(first), self.at(end - 1)) for first, end in self.runs()])

    def parts(self, first: int = 0, end: int | None = None) -> Iterator[Piece]:
        """Intervals first to end - 1, in a few pieces, in none of which a thread ended and was forgotten."""
        todo = self.runs(first, end)[::-1]
        while todo:
            begin, last = todo.pop()
            piece = self.before(begin), self.at(last - 1)
            if last - begin > 1 and missing(*piece):
                middle = (begin + last) // 2
                todo += [(middle, last), (begin, middle)]
            else:
                yield piece

    def slowest(self, most: int) -> list[tuple[int, Array]]:
        """Slow exits that were recorded, the longest first, each with the interval in which it ended: a row of SLOW."""
        found = list[tuple[int, Array]]()
        chosen = self._chosen or bool(self._of_file[0] or self._of_file[1].patterns)
        for number in np.unique(self._of[self._which]).tolist():
            first = int(self._firsts[number])
            mine = self._which[self._of[self._which] == number] - first
            with self._open.lock:
                recording = self._open[number]
                ends = (self._open.left(number, int(one)) for one in (mine[0], mine[-1]))
                rows = recording.slowest(MOST_LONGEST if chosen else most, *ends)
            times = self._segments[number].times
            for sample, row in rows:
                n = int(np.searchsorted(times, recording.times[sample]))
                found.append((min(int(np.searchsorted(self._which, first + n)), self.count - 1), row))
        found.sort(key=lambda one: -int(one[1]["ns"][0]))
        if chosen:
            found = [(n, row) for n, row in found if unpack(int(row["id"][0]))[0] in self.at(n).vms]
        return found[:most]

    def _total(self) -> Snapshot:
        pieces: list[Piece] = [(self.before(first), self._end(end - 1)) for first, end in self.runs()]
        if len(pieces) == 1 and pieces[0][0] is None:
            return pieces[0][1]
        return total(pieces, of_all=not self._chosen)

    def newest(self) -> Snapshot:
        """The counters at its end. Raises KvmtopError."""
        return self._end(self.count - 1)

    def _end(self, n: int) -> Snapshot:
        """The counters at the end of interval n; those after the run's last one are final."""
        number = int(self._of[self._which[n]])
        if self._segments[number].final and self._which[n] == self._firsts[number + 1] - 1:
            with self._open.lock:
                return self._only(self._open[number].last())
        return self.at(n)


def _cut_off(one: Segment) -> bool:
    """Whether its run had counted exits before its first sample's interval: `exits` has those of the interval alone."""
    recording = Recording(one.path)
    try:
        return int(recording.at(0).heads["count"].sum()) > int(one.exits[0])
    finally:
        recording.free()
