"""While somebody looks at the timeline: the last moments of every vCPU, and what is around slow exits, taken out of the
rings before it is overwritten."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..bpf.timeline import TimelineProbes
from ..model.arrays import U64, Array, Mask
from ..model.keys import unpack
from ..model.reasons import HLT, is_one_of
from ..model.snapshot import Snapshot
from ..model.timeline import NO_REASON, RAN, Stretch, Timeline
from .tracing import PAUSE, still_open, who_runs

BEFORE, AFTER = 3, 2  # around a slow exit, times its length,
LEAST, MOST = 10_000_000, 2_000_000_000  # ns, but no less and no more
KEPT, LONGEST = 64, 16  # slow exits with their surroundings: the newest, and of all these longest ones
BYTES = 64 << 20  # of them together
RECENT = 200_000  # exits, and as many spans, of all VMs: 40 MB
OLDEST = 60_000_000_000  # ns
PIECE, LONG = 2_000, 1_000_000_000  # records that are kept as one, and ns
OF_ONE = 50_000  # of them of one VM, for its last moments
SKEW = 1_000_000  # ns that CPUs' clocks may differ by
TRIES = 4  # to read what changes
LATER = 20_000_000  # ns after the end, until a slow exit's surroundings are taken: what lasts still is known by then


@dataclass(frozen=True)
class _Taken:
    """What was taken at once: what has ended since the time before."""

    since_ns: int
    until_ns: int
    exits: Array
    spans: Array
    lost: int


@dataclass(frozen=True)
class _Cut:
    """The records of a stretch; what had not ended is to be told by the threads' states, which another thread reads."""

    pid: int
    start_ns: int
    stop_ns: int
    slow: tuple[int, int, int] | None
    exits: Array
    spans: Array
    opens: Array  # dtype OPEN, at now_ns
    changing: list[int]  # threads whose row was written whenever it was read: what they do is in the rings
    running: list[tuple[int, int]]  # the same
    now_ns: int
    lost: int


class Stretches:
    """Takes from the rings in a thread of its own; all but that is called from the one that reads the counters."""

    def __init__(self, probes: TimelineProbes) -> None:
        """probes: are closed by whoever made them, after stop()."""
        self._probes = probes
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = self._slow_ns = self._since_ns = self._lost = 0
        self._taken = deque[_Taken]()
        self._counts = [0, 0]  # exits and spans in them
        # Slow exits whose surroundings are not over, and until when those are.
        self._due = deque[tuple[int, tuple[int, int, int]]]()
        self._cuts = list[_Cut]()
        self._around = list[Stretch]()
        self._first: Array | None = None  # threads when the look began

    def look(self, pid: int, slow_ns: int) -> None:
        """Whose slow exits, and how slow; pid 0: any VM's."""
        with self._lock:
            self._pid, self._slow_ns = pid, max(slow_ns, 1)

    @property
    def running(self) -> bool:
        """Whether the probes are attached."""
        return self._thread is not None

    def start(self, read: Callable[[], Snapshot]) -> None:
        """Attach, and begin. read: the counters now. Raises KvmtopError."""
        self._probes.start()
        snapshot = read()
        self._probes.skip()
        self._first, self._lost = snapshot.threads, 0
        self._since_ns = time.monotonic_ns()  # what ended before is skipped
        self._taken.clear()
        self._counts, self._last = [0, 0], self._since_ns
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="rings", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and detach; what is kept of slow exits stays."""
        if self._thread:
            self._ended.set()
            self._thread.join()
            self._thread = None
            self._probes.stop()
            self._taken.clear()
            self._due.clear()
            self._cuts.clear()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            self.turn()

    def turn(self) -> None:
        """Take what there is, and what is around slow exits where that is over."""
        with self._lock:
            self._take()
            now = time.monotonic_ns()
            while self._due and self._due[0][0] + LATER <= now:
                until, slow = self._due.popleft()
                before = min(max(BEFORE * (slow[2] - slow[1]), LEAST), MOST)
                self._cuts = [*self._cuts, self._cut(unpack(slow[0])[0], slow[1] - before, until, slow)][-KEPT:]

    def _take(self) -> None:
        since, self._last = self._last, time.monotonic_ns()
        before = self._missing()
        exits, spans = self._probes.take()
        one = _Taken(since, self._last, exits, spans, self._missing() - before)
        self._lost += one.lost
        self._taken.append(_together(self._taken.pop(), one) if self._small(one) else one)
        for at, rows in enumerate((exits, spans)):
            self._counts[at] += len(rows)
        oldest = self._last - OLDEST
        while len(self._taken) > 1 and (max(self._counts) > RECENT or self._taken[0].until_ns < oldest):
            old = self._taken.popleft()
            self._counts = [self._counts[0] - len(old.exits), self._counts[1] - len(old.spans)]
        self._find(exits)

    def _small(self, new: _Taken) -> bool:
        """Whether what was taken last and this are kept as one."""
        last = self._taken[-1] if self._taken else None
        if last is None or last.lost or new.lost or new.until_ns - last.since_ns > LONG:
            return False
        return sum(map(len, (last.exits, last.spans, new.exits, new.spans))) <= PIECE

    def _missing(self) -> int:
        return sum(int(counts.sum()) for counts in self._probes.lost.values())

    def _find(self, exits: Array) -> None:
        """Those that are slow, idle ones aside."""
        lasted = exits["end_ns"].astype("i8") - exits["begin_ns"].astype("i8")
        slow = (lasted - exits["idle_ns"].astype("i8") >= self._slow_ns) & (exits["reason"] != NO_REASON)
        slow &= (exits["begin_ns"] > 0) & (exits["number"] > 0) & (exits["begin_ns"] >= self._since_ns)
        found = exits[slow]
        found = found[~is_one_of(found, HLT)]
        if self._pid:
            found = found[unpack(found["id"])[0] == self._pid]
        for thread, begin, end in found[["id", "begin_ns", "end_ns"]][-KEPT:].tolist():
            until = end + min(max(AFTER * (end - begin), LEAST), MOST)
            self._due.append((until, (thread, begin, end)))
        if len(found):
            self._due = deque(sorted(self._due)[-KEPT:])

    def _cut(self, pid: int, start: int, stop: int, slow: tuple[int, int, int] | None) -> _Cut:
        """To be called with the lock, after all up to `stop` was taken."""
        now = time.monotonic_ns()
        opens, changing = self._opens(pid)
        running = self._probes.running()
        self._take()
        parts = [one for one in self._taken if one.until_ns >= start]
        start = max(start, self._since_ns, self._taken[0].since_ns)
        exits = np.concatenate([one.exits for one in parts])
        spans = np.concatenate([one.spans for one in parts])
        exits = exits[unpack(exits["id"])[0] == pid]
        spans = spans[(unpack(spans["id"])[0] == pid) | (spans["state"] == RAN)]
        exits = exits[(exits["end_ns"] > start) & (_since(exits) < stop)]
        spans = spans[(spans["end_ns"] > start) & (spans["begin_ns"] < stop)]
        lost = sum(one.lost for one in parts if one.since_ns <= stop)
        return _Cut(pid, start, stop, slow, exits, spans, opens, changing, running, now, lost)

    def _opens(self, pid: int) -> tuple[Array, list[int]]:
        """What is not over of a VM's threads, and the threads of which that cannot be read whole."""
        before = self._probes.opens()
        found = dict[int, Array]()
        for _ in range(TRIES):
            rows = self._probes.opens()
            if len(rows) == len(before):
                whole = rows[(rows == before) & (unpack(rows["id"])[0] == pid)]
                found |= {int(row["id"]): row for row in whole if int(row["id"]) not in found}
            before = rows
        mine = before["id"][unpack(before["id"])[0] == pid].tolist()
        opens = np.array([*found.values()], before.dtype) if found else before[:0]
        return opens, [thread for thread in mine if thread not in found]

    def read(self, snapshot: Snapshot) -> Timeline | None:
        """What is kept now; snapshot: of the counters, just taken. None while nobody looks."""
        if not self._thread:
            return None
        with self._lock:
            self._take()
            recent = self._recent(snapshot) if self._pid else None
            cuts, self._cuts = self._cuts, []
            lost, pid, slow_ns = self._lost, self._pid, self._slow_ns
        self._around = kept([*self._around, *(self._whole(cut, snapshot) for cut in cuts)])
        last = self._whole(recent, snapshot) if recent else None
        return Timeline(self._since_ns, pid, slow_ns, last, tuple(self._around), lost)

    def _recent(self, snapshot: Snapshot) -> _Cut | None:
        """As far back as there are so many records of this VM."""
        start, left = snapshot.time_ns, OF_ONE
        for one in reversed(self._taken):
            left -= int(max((unpack(rows["id"])[0] == self._pid).sum() for rows in (one.exits, one.spans)))
            if left < 0:
                break
            start = one.since_ns
        return self._cut(self._pid, start, snapshot.time_ns, None) if start < snapshot.time_ns else None

    def _whole(self, cut: _Cut, snapshot: Snapshot) -> Stretch:
        """With what had not ended when it was taken."""
        assert self._first is not None
        first, last = (rows[unpack(rows["id"])[0] == cut.pid] for rows in (self._first, snapshot.threads))
        first = first[~np.isin(first["id"], np.array(cut.changing, "u8"))]
        exits, spans = still_open(first, last, cut.opens, self._since_ns, cut.now_ns)
        # The rings were read after that: what ended between is in both.
        exits = exits[~_among(exits, cut.exits, "id", cut.now_ns)]
        exits = exits[(exits["guest_ns"] == 0) | ~_among(exits, cut.exits, "id", cut.now_ns, "guest_ns")]
        spans = spans[~_among(spans, cut.spans, "id", cut.now_ns)]
        exits = np.concatenate([cut.exits, exits])
        exits = exits[(exits["end_ns"] > cut.start_ns) & (_since(exits) < cut.stop_ns)]
        spans = np.concatenate([cut.spans, spans])
        spans = spans[(spans["end_ns"] > cut.start_ns) & (spans["begin_ns"] < cut.stop_ns)]
        mine = spans["state"] != RAN
        cpus = set(np.unique(np.concatenate([exits["cpu"], spans["cpu"][mine]])).tolist())
        spans = spans[mine | np.isin(spans["cpu"], list(cpus))]
        runs = who_runs(cut.running, snapshot.threads, cut.now_ns, cpus)
        runs = runs[~_among(runs, spans[spans["state"] == RAN], "cpu", cut.now_ns) & (runs["begin_ns"] < cut.stop_ns)]
        return Stretch(cut.pid, cut.start_ns, cut.stop_ns, exits, np.concatenate([spans, runs]), cut.slow, cut.lost)


def _together(one: _Taken, other: _Taken) -> _Taken:
    exits, spans = np.concatenate([one.exits, other.exits]), np.concatenate([one.spans, other.spans])
    return _Taken(one.since_ns, other.until_ns, exits, spans, one.lost + other.lost)


def _since(exits: Array) -> U64:
    """When what is told of them begins."""
    since: U64 = np.where(exits["guest_ns"] > 0, exits["guest_ns"], exits["begin_ns"])
    return since


def _among(rows: Array, others: Array, name: str, now_ns: int, begin: str = "begin_ns") -> Mask:
    """Which of these have the same beginning as one of the others, of the same thread or CPU, that ended after this."""
    others = others[others["end_ns"] + np.uint64(SKEW) > now_ns]
    known = set(zip(others[name].tolist(), others[begin].tolist(), strict=True))
    found = [one in known for one in zip(rows[name].tolist(), rows[begin].tolist(), strict=True)]
    return np.array(found, bool)


def kept(around: list[Stretch]) -> list[Stretch]:
    """Of stretches around slow exits those that stay in memory, by their beginning: the newest, and the longest."""
    ordered = sorted(around, key=lambda one: one.slow[1] if one.slow else 0)
    by_length = sorted(ordered, key=lambda one: one.slow[1] - one.slow[2] if one.slow else 0)
    longest = {id(one) for one in by_length[:LONGEST]}
    sizes = {id(one): one.exits.nbytes + one.spans.nbytes for one in ordered}
    while ordered and (len(ordered) > KEPT or (len(ordered) > 1 and sum(sizes[id(one)] for one in ordered) > BYTES)):
        ordered.remove(next((one for one in ordered if id(one) not in longest), ordered[0]))
    return ordered
