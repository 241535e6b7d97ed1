"""Plays a recording: in its own time or faster, step by step, or from anywhere in it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..insight.detail_history import DetailHistory
from ..model.history import Sample
from ..model.interval import diff
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import DetailRequest, isa_name
from ..recording.format import STEPS
from ..recording.reader import Recording
from ..recording.store import Dropped, Store
from .feed import POINTS, Reading

SPEEDS = (1, 2, 5, 10, 20, 30, 60)
FRAME = 0.05  # s between two frames at least
DRAWING = 0.1  # s that the screen has after a jump, before what may be wanted next is unpacked
STEADY = 0.05  # s of work for a frame, after which it takes the rest of its samples as one interval
RESTING = 0.3  # s without a key, after which there is time to look for what stands out
FILLING = 0.5  # s of work for the history of a place that was jumped to
SEEK = 20  # parts of the run, one of which a long step is


class ReplayFeed:
    """A Feed of a recording. Its thread shows the samples when they are due, and waits for keys."""

    goes_back = True
    goes_on = False  # pausing holds its clock, and whoever steps wants to see it

    def __init__(self, recording: Recording | Store, start: int = 0) -> None:
        """start: the interval to begin with; elsewhere than at the beginning, paused."""
        self.recording = recording if isinstance(recording, Store) else Store.of(recording)
        self._start, self._played = start, self.recording.played
        self.speed, self.at, self.paused = 1, -1, start > 0  # at: the sample that is shown
        self._goto: int | None = None
        self._goto_lock = threading.Lock()
        self._moves = 0
        self._rates: dict[int, list[float]] = {}
        self._lost = ""  # what was dropped from the store while it was open
        self._session, self._details = Session(), DetailHistory()  # changed in run()'s thread alone
        self._settled = False  # what is shown was delivered with time to look at it
        self._fill_from, self._fill_until = 0, 0.0  # the oldest sample in the history; when to leave it at that
        self._wake, self._ending = threading.Event(), False
        self._deliver: Callable[[Reading], None] = lambda reading: None

    @property
    def trouble(self) -> str | None:
        """That of the recording, and what nobody has seen before what is shown."""
        gap = self.recording.gap(self.at) if self.at >= 0 else ""
        return "; ".join(filter(None, (self._lost, gap, self.recording.trouble))) or None

    @property
    def busy(self) -> str:
        """Nothing is loaded for it."""
        return ""

    @property
    def pace(self) -> str:
        """The speed."""
        return f"{self.speed}×"

    def whose(self, snapshot: Snapshot | None) -> Sequence[str]:
        """The recording."""
        return [self.recording.origin_of(max(self.at, 0)).title, *([isa_name(snapshot.isa)] if snapshot else [])]

    def rates(self, width: int) -> list[float]:
        """Exits a second in so many equal parts of the run, by time; 0 where nothing was recorded."""
        if width not in self._rates:  # as long as the words beside it are; a week takes 7 ms
            self._rates[width] = self._rates_of(width)
        return self._rates[width]

    def _rates_of(self, width: int) -> list[float]:
        times, begins, exits = self.recording.times, self.recording.begins, self.recording.exits
        begin, end = self.recording.start_ns, int(times[-1])
        if end <= begin:
            return [0.0] * width
        step = max((end - begin) // width, 1)  # ns; a product with the width might not fit into 64 bits
        part = np.minimum((times - begin) // step, width - 1)
        # An interval longer than a part shows in all parts that it covers.
        rate = exits / np.maximum(times - begins, 1)
        sums, counts = np.bincount(part, rate, width), np.bincount(part, minlength=width)
        place = begin + (np.arange(width) + 1) * step
        at = np.minimum(np.searchsorted(times, place), len(rate) - 1)
        covering = np.where(begins[at] < place, rate[at], 0.0)
        found: list[float] = (np.where(counts > 0, sums / np.maximum(counts, 1), covering) * 1e9).tolist()
        return found

    def run(self, deliver: Callable[[Reading], None]) -> bool:
        """Play until stop(), which is not before somebody wants it."""
        self._deliver = deliver
        times, last = self._played, len(self.recording) - 1
        before, clock, speed = time.monotonic(), float(times[self._start]), self.speed  # speed: 0 while paused
        self._seek(self._start)
        while not self._ending:
            self._wake.clear()
            now = time.monotonic()
            try:
                if (goto := self._goto) is not None:
                    self._moves += 1
                    self._seek(goto)
                    with self._goto_lock:
                        self._goto = None if self._goto == goto else self._goto  # a key may have come meanwhile
                    clock = float(times[self.at])
                elif speed and not self.paused:
                    clock += (now - before) * 1e9 * speed
                    self._advance(min(int(np.searchsorted(times, clock, "right")) - 1, last))
            except Dropped as gone:
                if gone.on < 0:
                    raise
                self._lost = str(gone)
                self._go_to(gone.on)
                continue
            if self.at == last and not self.paused:
                self.paused = True
                self._show()
            before, speed = now, 0 if self.paused else self.speed
            if not speed and not self._wake.wait(DRAWING):  # after it is drawn
                self._have_ready()
            self._fill()
            if not self._settled and speed < 2 and not self._wake.wait(0 if speed else RESTING):
                self._show(settled=True)
            due = None
            if speed:
                ahead = (float(times[self.at + 1]) - clock) / 1e9 / speed
                due = max(now + max(ahead, FRAME) - time.monotonic(), 0)
            self._wake.wait(due)
        return False

    def _show(self, settled: bool = False) -> None:
        if interval := self._session.interval:
            self._settled = settled
            self._deliver(Reading(self._session.copy(), interval, self._details, settled, self._moves))

    def _advance(self, target: int) -> None:
        """Play up to a sample; if that takes too long, the rest as one interval."""
        if target <= self.at:
            return
        until = time.monotonic() + STEADY
        while self.at < target:
            step = self.at + 1 if time.monotonic() < until else target
            snapshot = self.recording.at(step)
            if self._goto is not None or self._ending:  # somewhere else, and at once
                return
            if not self._goes_on(self.at, step):
                self._session, self._details = self._new(step), DetailHistory()
            self._add(snapshot)
            self.at = step
        self._show()

    def _seek(self, n: int) -> None:
        """Show another sample, with what is known of its history."""
        if n == self.at + 1 and self._goes_on(self.at, n):
            self._add(self.recording.at(n))
        elif n != self.at:
            old = list(self._session.history) if self._goes_on(self.at, n) else []
            session = self._new(n)
            if last := session.last:
                newest = next((i for i, sample in enumerate(old) if sample.time_ns == last.time_ns), -1)
                session.history.extend(old[: newest + 1])
            if not session.history:
                self._fill_from = n
            self._details = DetailHistory().add(session.add(self.recording.at(n)))
            self._session = session
        self.at = n
        self._fill_until = time.monotonic() + FILLING
        self._show()

    def _add(self, snapshot: Snapshot) -> None:
        """The next; of what was thinned since the store was opened, several of its intervals have become one."""
        last = self._session.last
        if last is None or (last.start_ns, last.time_ns) != (snapshot.start_ns, snapshot.time_ns):
            self._details = self._details.add(self._session.add(snapshot))

    def _new(self, n: int) -> Session:
        """A session that interval n is to be added to."""
        session = Session()
        session.last = self.recording.before(n)
        return session

    def _goes_on(self, a: int, b: int) -> bool:
        """Whether two intervals are of one run."""
        return a >= 0 and self.recording.run(a) == self.recording.run(b)

    def _fill(self) -> None:
        """Add to the history what came before a place that was jumped to, until something else is to be done."""
        done, drawing = self._fill_from, DRAWING
        while (
            self._fill_from > 0
            and self.recording.follows(self._fill_from)
            and len(self._session.history) < POINTS
            and time.monotonic() < self._fill_until
            and not self._wake.wait(drawing)
        ):
            n, drawing = self._fill_from - 1, 0
            try:
                sample, history = Sample(diff(self.recording.before(n), self.recording.at(n))), self._session.history
                if not history or sample.time_ns < history[0].time_ns:
                    self._session.prepend(sample)
            except Dropped:
                n = 0
            self._fill_from = n
            if self.paused:
                self._have_ready()
        if self._fill_from != done:
            self._show()

    def _have_ready(self) -> None:
        """What the next step takes, a step back two of them, so that it need not be unpacked then."""
        for n in (self.at + 1, self.at - 1, self.at - 2):
            if 0 <= n < len(self.recording) and not self._wake.is_set():
                with contextlib.suppress(Dropped):
                    self.recording.at(n)

    def stop(self) -> None:
        """Let run() return at once."""
        self._ending = True
        self._wake.set()

    def pause(self, on: bool) -> None:
        """Hold its clock, or play; at the end, once more from the beginning."""
        if not on and self.at == len(self.recording) - 1:
            self._go_to(0)  # first: where it is, its thread would pause again
        self.paused = on
        self._wake.set()

    def faster(self, by: int) -> None:
        """So many of SPEEDS faster."""
        self.speed = SPEEDS[min(max(SPEEDS.index(self.speed) + by, 0), len(SPEEDS) - 1)]
        self._wake.set()

    def look(self, wish: DetailRequest | None) -> None:
        """It tells what was looked at when it was recorded."""

    def step(self, by: int) -> None:
        """So many intervals on, or back; and pause."""
        self.paused = True
        self._go_by(by)

    def seek(self, by: int) -> None:
        """So many parts of the run on, or back."""
        self._go_by(by * max(len(self.recording) // SEEK, 1), far=True)

    def go_to(self, share: float) -> None:
        """To a share of the run, 0 to 1."""
        times = self.recording.times
        place = self.recording.start_ns + share * (int(times[-1]) - self.recording.start_ns)
        self._go_to(handy(min(int(np.searchsorted(times, place)), len(times) - 1), len(times)))

    def go_to_instant(self, ns: int) -> None:
        """To the interval of the run that is shown that has it; CLOCK_MONOTONIC, ns."""
        if (last := self._session.last) is not None:
            self._go_to(self.recording.index(self.recording.place(ns, last)))

    @property
    def resting(self) -> bool:
        """Whether it is paused, and has nothing to do."""
        return self.paused and self._settled and self._goto is None

    def hold(self) -> int:
        """Pause; the interval that is shown, or that somebody goes to."""
        self.paused = True
        self._wake.set()
        with self._goto_lock:
            return max(self.at if self._goto is None else self._goto, 0)

    def go_to_interval(self, n: int) -> None:
        """To one of them; and pause."""
        self.paused = True
        self._go_to(n)

    def go_to_moment(self, text: str) -> None:
        """To what somebody means who writes this; and pause. Raises KvmtopError."""
        place = self.recording.seek(text)
        self.paused = True
        self._go_to(place)

    def _go_by(self, by: int, far: bool = False) -> None:
        with self._goto_lock:
            place = (self.at if self._goto is None else self._goto) + by
        place = min(max(place, 0), len(self.recording) - 1)
        self._go_to(handy(place, len(self.recording)) if far else place)

    def _go_to(self, sample: int) -> None:
        with self._goto_lock:
            self._goto = sample
        self._wake.set()


def handy(n: int, count: int) -> int:
    """In a long recording, a sample near n that can be had with the one before it from few frames; not at the ends."""
    near = STEPS[-2]
    return n if count < 2 * near * SEEK or n in (0, count - 1) else n - n % near + 1
