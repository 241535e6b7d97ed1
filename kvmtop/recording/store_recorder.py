"""A run that is recorded always: in segments of a directory, of which the oldest go when there is no more room.

Nothing that is there is touched but for segments that kvmtop wrote for this user: they go when they are too old or too
much, and are completed where their writer was killed. If one cannot be written, what is there stays, and recording
goes on when it can.

Ages go by a clock that is set to the wall's when recording begins, and runs by itself from then on (CLOCK_BOOTTIME): a
wall clock that is set, right or wrong, makes no segment older or younger. It may have been wrong at that moment, so for
each segment that begins, no more than two go for their age.
"""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np

from .. import units
from ..errors import KvmtopError, tell
from ..model.arrays import Array
from ..model.snapshot import SLOW, Snapshot
from ..model.source import Source, Wrapper
from .folder import Folder
from .format import MOST_SLOW, words
from .segments import beside, is_mine, is_recording, path, whole
from .thinner import Old, Thinner
from .writer import FAILURES, Recorder, Sums

RESERVE = 1 << 16  # bytes: what the journal of a sample takes, and the directory's growth
LONGEST_PAUSE = 60.0  # seconds between two tries
STEP = 10 * 10**9  # ns by which the wall clock is set, for which a new segment begins, under its name of then
AT_ONCE = 2  # segments that go for their age when one begins


class StoreRecorder(Wrapper):
    """A Source that writes what it passes on to segments of a Folder. If it cannot, it tells, and tries again."""

    def __init__(self, source: Source, folder: Folder) -> None:
        """The folder is closed with it. Raises KvmtopError if the folder cannot be read."""
        super().__init__(source)
        self._folder, self._limits = folder, folder.limits
        self._guard = threading.Lock()
        self._began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            self._old = folder.mend()
        except OSError as error:
            raise KvmtopError(f"cannot record to {folder.path}: {words(error)}") from None
        for one in self._old:
            one.end = min(one.end, self._now())
        self._thinner = Thinner(self._limits.thin, self._limits.of_thinned, folder.note)
        self._writer: Recorder | None = None
        self._path = folder.path
        self._first: Snapshot | None = None  # of the segment
        self._newest = 0  # when its last was taken, ns
        self._sums: Sums = {}
        self._slow = np.zeros(0, SLOW)  # that somebody was given before the reading that they belong to
        self._largest = 0  # bytes that a sample took
        self._failed: str | None = None
        self._missed, self._pause, self._next = 0, 0.0, 0.0

    def _now(self) -> float:
        return self._began + time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def trouble(self) -> str | None:
        """What is the matter with it at present."""
        if self._failed:
            return f"the last {self._missed} readings are not in {self._folder.path} ({self._failed})"
        return super().trouble

    def read(self) -> Snapshot:
        """The source's counters, recorded."""
        snapshot = self._source.read()
        self._record(snapshot, False)
        with self._guard:
            if not self._failed:
                self._thinner.work(self._old)
        return snapshot

    def slow(self) -> Array:
        """The source's slow exits, recorded with the next reading, in whichever segment that is."""
        found = self._source.slow()
        self._slow = np.concatenate([self._slow, found])[-MOST_SLOW:]
        return found

    def close(self) -> Snapshot:
        """The source's final counters; the segment is complete."""
        snapshot = self._source.close()
        self._record(snapshot, True)
        with self._guard:
            self._thinner.stop()
            self._end()
        self._folder.close()
        return snapshot

    def _record(self, snapshot: Snapshot, final: bool) -> None:
        with self._guard:
            if self._failed and not final and time.monotonic() < self._next:
                self._missed += 1
                return
            try:
                self._add(snapshot, final)
            except (*FAILURES, KvmtopError) as error:
                self._fail(error)
                return
            if self._failed:
                tell(f"recording to {self._folder.path} goes on; {self._missed} readings are not in it")
            self._failed, self._missed, self._pause = None, 0, 0.0

    def _fail(self, error: Exception) -> None:
        self._end()
        if not self._failed:
            self._failed = words(error).removeprefix(f"cannot record to {self._folder.path}/")
            where = self._folder.path
            tell(f"recording to {where} pauses ({self._failed}): what is there stays, and it goes on when it can")
        self._missed += 1
        self._pause = min(max(2 * self._pause, 1.0), LONGEST_PAUSE)
        self._next = time.monotonic() + self._pause

    def _add(self, snapshot: Snapshot, final: bool) -> None:
        if self._writer and self._is_enough(snapshot):
            self._end()
        if self._writer:
            with contextlib.suppress(*FAILURES):  # it may be full in one way or another: the next one says
                self._put(self._writer, snapshot, final)
                return
            self._end()
        self._put(self._begin(snapshot), snapshot, final)

    def _put(self, writer: Recorder, snapshot: Snapshot, final: bool) -> None:
        before = self._size
        writer.keep(self._slow)
        writer.add(snapshot, final)
        self._slow = self._slow[:0]
        self._largest = max(self._largest, self._size - before)
        self._sums, self._newest = writer.sums, snapshot.time_ns

    def _make_room(self, frame: int) -> int:
        """For a frame of so many bytes, and what goes with it; how large its segment may become. Raises OSError."""
        wanted = max(frame + frame // 4, self._largest) + RESERVE
        while self._room < wanted:
            if not self._old:
                size = f"{units.number(self._limits.size)}B"
                raise OSError(0, f"a reading of {units.number(wanted)}B does not fit into {size}: ask for more")
            self._drop()
        return self._room + self._size

    @property
    def _size(self) -> int:
        """Bytes of the segment that is being written, with its journal."""
        return whole(self._path) if self._writer else 0

    @property
    def _room(self) -> int:
        """Bytes that may be written still."""
        others = sum(one.size for one in self._old)
        return self._limits.size - RESERVE - others - self._size - self._folder.rest

    def _drop(self) -> None:
        """The oldest; raises OSError if it cannot go, since then there is no room."""
        place = self._old[0].path
        self._thinner.stop(place)
        if is_mine(place) and is_recording(place):
            place.unlink()
            for one in beside(place):
                if is_mine(one):
                    one.unlink()
        self._old.pop(0)

    def _is_enough(self, snapshot: Snapshot) -> bool:
        first = self._first
        assert first
        set_by = (snapshot.wall_ns - snapshot.time_ns) - (first.wall_ns - first.time_ns)
        stepped = snapshot.wall_ns and first.wall_ns and abs(set_by) > STEP
        late = snapshot.time_ns - first.time_ns >= self._limits.hours * 3600e9
        return bool(late or stepped or self._size >= self._limits.of_segment)

    def _begin(self, snapshot: Snapshot) -> Recorder:
        if self._failed:  # one that could not be completed then may be now
            self._thinner.stop()
            known = [one.path for one in self._old]
            found = {one.path: one for one in self._folder.mend()}
            self._old = [found.pop(place) for place in known if place in found] + list(found.values())
        if self._limits.keep is not None:
            for one in self._old[:AT_ONCE]:
                if one.end < self._now() - self._limits.keep:
                    self._drop()
        place = path(self._folder.path, snapshot.wall_ns or time.time_ns())
        self._writer = Recorder(self._source, place, mode=self._folder.mode, sums=self._sums, room=self._make_room)
        self._path, self._first = place, snapshot
        return self._writer

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer and writer.samples and self._first:
            writer.end()
            span = (self._newest - self._first.time_ns) / 1e9
            self._old.append(Old(self._path, whole(self._path), self._now(), span))
        elif writer:
            writer.discard()
