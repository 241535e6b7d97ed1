"""The dashboard over a recording: play, pause, step, seek, at 1 to 60 times the speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from ..errors import KvmtopError
from ..insight.findings import findings
from ..insight.vcpus import vcpu_rows
from ..model.history import Sample
from ..model.interval import Interval, diff
from ..model.session import Session
from ..model.vocabulary import UNKNOWN
from ..recording.format import GROUP
from ..recording.reader import Recording
from ..reference.labels import Labels
from ..tables.header import recording_header
from ..widgets.reason_page import ReasonPage
from ..widgets.timeline import Sought, Timeline
from .app import POINTS, KvmtopApp, Tick

SPEEDS = (1, 2, 5, 10, 20, 30, 60)
FRAME = 0.05  # s between two frames at least
STEADY = 0.05  # s of work for a frame, after which it takes the rest of its samples as one interval
RESTING = 0.3  # s without a key, after which there is time to look for what stands out
FILLING = 0.5  # s of work for the history of a place that was jumped to
SEEK = 20  # parts of the run, one of which a long step is
_NOT_HERE = ("pause", "interval", "slow")  # keys of the live dashboard: another meaning, or none in a recording


class Player(KvmtopApp):
    """Shows the samples when they are due; the thread that reads waits for keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Play", tooltip="Play, or pause; at the end, once more from the beginning"),
        Binding("right", "step(1)", "Step", key_display="←→", priority=True, tooltip="The next interval, and pause"),
        Binding("left", "step(-1)", "Step", show=False, priority=True, tooltip="The interval before, and pause"),
        Binding("shift+right,right_curly_bracket", "seek(1)", "Seek", key_display="{ }", priority=True,
                tooltip="A twentieth of the recording on; a click on its line goes anywhere"),
        Binding("shift+left,left_curly_bracket", "seek(-1)", "Seek", show=False, priority=True,
                tooltip="A twentieth of the recording back"),
        Binding("0", "go_to(0.0)", "Start", show=False, tooltip="The beginning of the recording"),
        Binding("dollar_sign", "go_to(1.0)", "End", show=False, tooltip="The end of the recording"),
        Binding("right_square_bracket", "speed(1)", "Speed", key_display="[ ]", tooltip="Play faster"),
        Binding("left_square_bracket", "speed(-1)", "Speed", show=False, tooltip="Play slower"),
        *(b for b in KvmtopApp.BINDINGS if isinstance(b, Binding)
          and b.action.partition("(")[0] not in _NOT_HERE),
    ]  # fmt: skip

    def __init__(
        self, recording: Recording, dump: Path | None = None, isa: int = UNKNOWN, labels: Labels | None = None
    ) -> None:
        """dump and isa are for the key that writes the summary; labels: the names of what exits touch."""
        super().__init__(recording, dump=dump, isa=isa, labels=labels)
        self.recording = recording
        self.speed, self.at = 1, -1  # at: the sample that is shown
        self._goto: int | None = None
        self._whole = False
        self._fill_from, self._fill_until = 0, 0.0  # the oldest sample in the history; when to leave it at that

    def compose(self) -> ComposeResult:
        """The timeline is the last line but the keys."""
        yield from super().compose()
        yield Timeline(id="timeline")

    def on_mount(self) -> None:
        """The whole run in the timeline; a reason's page without what no recording has."""
        self.query_one(ReasonPage).add_class("-recorded")
        self.query_one(Timeline).load(self._rates)

    def _rates(self, width: int) -> list[float]:
        """Exits a second in so many equal parts of the run, by time."""
        times, exits = self.recording.times, self.recording.exits
        begin, end = self.recording.start_ns, int(times[-1])
        if end <= begin:
            return [0.0] * width
        step = max((end - begin) // width, 1)  # ns; a product with the width might not fit into 64 bits
        part = np.minimum((times - begin) // step, width - 1)
        ends = np.concatenate([[begin], times])
        # An interval longer than a part shows in all parts that it covers.
        rate = exits / np.maximum(np.diff(ends), 1)
        sums, counts = np.bincount(part, rate, width), np.bincount(part, minlength=width)
        at = np.searchsorted(times, begin + (np.arange(width) + 1) * step)
        covering = rate[np.minimum(at, len(rate) - 1)]
        found: list[float] = (np.where(counts > 0, sums / np.maximum(counts, 1), covering) * 1e9).tolist()
        return found

    # The thread that reads

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        try:
            self._play()
        except KvmtopError as error:
            self.failure = error
            self.call_from_thread(self.exit)

    def _play(self) -> None:
        times, last = self.recording.times, len(self.recording) - 1
        before, clock, speed = time.monotonic(), float(times[0]), self.speed  # speed: 0 while paused
        self._seek(0)
        while not self._ending:
            self._wake.clear()
            now = time.monotonic()
            goto, self._goto = self._goto, None
            if goto is not None:
                self._seek(goto)
                clock = float(times[self.at])
            elif speed and not self.paused:
                clock += (now - before) * 1e9 * speed
                self._advance(min(int(np.searchsorted(times, clock, "right")) - 1, last))
            if self.at == last and not self.paused:
                self.paused = True
                self._show()
            before, speed = now, 0 if self.paused else self.speed
            if not speed and not self._wake.wait(FRAME):  # after it is drawn
                self._have_ready()
            self._fill()
            if not self._whole and speed < 2 and not self._wake.wait(0 if speed else RESTING):
                self._show(whole=True)
            due = None
            if speed:
                ahead = (float(times[self.at + 1]) - clock) / 1e9 / speed
                due = max(now + max(ahead, FRAME) - time.monotonic(), 0)
            self._wake.wait(due)

    def _show(self, whole: bool = False) -> None:
        """Draw; whole: with what stands out, which takes long to find in a history that is new."""
        if interval := self.session.interval:
            self._prepare(interval)
            if whole and self.telling:  # samples remember what is found here, so that drawing does not wait for it
                findings(self.session, interval, vcpu_rows(self.session, interval, self._hidden), self._names())
            self._whole = whole
            self.post_message(Tick(interval))

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
            self.session.add(snapshot)
            self.at = step
        self._show()

    def _seek(self, n: int) -> None:
        """Show another sample, with what is known of its history."""
        if n == self.at + 1:
            self.session.add(self.recording.at(n))
        elif n != self.at:
            session, old = Session(), list(self.session.history)
            if n:
                session.last = self.recording.at(n - 1)
                newest = next((i for i, sample in enumerate(old) if sample.time_ns == session.last.time_ns), -1)
                session.history.extend(old[: newest + 1])
            if not session.history:
                self._fill_from = n
            session.add(self.recording.at(n))
            self.session = session
        self.at = n
        self._fill_until = time.monotonic() + FILLING
        self._show()

    def _fill(self) -> None:
        """Add to the history what came before a place that was jumped to, until something else is to be done."""
        done, drawing = self._fill_from, FRAME
        while (
            self._fill_from > 0
            and len(self.session.history) < POINTS
            and time.monotonic() < self._fill_until
            and not self._wake.wait(drawing)
        ):
            n, drawing = self._fill_from - 1, 0
            earlier = self.recording.at(n - 1) if n else None
            self.session.prepend(Sample(diff(earlier, self.recording.at(n))))
            self._fill_from = n
            if self.paused:
                self._have_ready()
        if self._fill_from != done:
            self._show()

    def _have_ready(self) -> None:
        """What the next step takes, a step back two of them, so that it need not be unpacked then."""
        for n in (self.at + 1, self.at - 1, self.at - 2):
            if 0 <= n < len(self.recording) and not self._wake.is_set():
                self.recording.at(n)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Arrows and braces belong to a field that is typed in, and to a screen on top."""
        if action in _NOT_HERE and action != "pause":
            return False
        if action in ("step", "seek") and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return False
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        """Play or pause."""
        self.paused = not self.paused
        if not self.paused and self.at == len(self.recording) - 1:
            self._goto = 0
        self._wake.set()
        self._draw()

    def action_step(self, by: int) -> None:
        """To the next interval or the one before."""
        self.paused = True
        self._go_to(by)

    def action_seek(self, by: int) -> None:
        """Far."""
        self._go_to(by * max(len(self.recording) // SEEK, 1), far=True)

    def _go_to(self, by: int, far: bool = False) -> None:
        place = (self.at if self._goto is None else self._goto) + by
        place = min(max(place, 0), len(self.recording) - 1)
        self._goto = handy(place, len(self.recording)) if far else place
        self._wake.set()

    def action_go_to(self, share: float) -> None:
        """To a share of the run, 0 to 1."""
        times = self.recording.times
        place = self.recording.start_ns + share * (int(times[-1]) - self.recording.start_ns)
        self._goto = handy(min(int(np.searchsorted(times, place)), len(times) - 1), len(times))
        self._wake.set()

    @on(Sought)
    def _clicked(self, event: Sought) -> None:
        self.action_go_to(event.share)

    def action_speed(self, by: int) -> None:
        """The next speed."""
        self.speed = SPEEDS[min(max(SPEEDS.index(self.speed) + by, 0), len(SPEEDS) - 1)]
        self._wake.set()
        self._draw()

    def action_reset(self) -> None:
        """Trends start anew; so their past is not looked up any more."""
        self._fill_until = 0.0
        super().action_reset()

    # What is shown

    def on_tick(self, tick: Tick) -> None:
        """Also while it is paused: somebody steps."""
        tick.prevent_default()  # else the live dashboard's would be called, too
        if not self.is_running:
            return
        self.shown = tick.interval
        if self._whole:
            self._tell()
        else:
            self.query_one("#findings").set_class(False, "-on")
        self._draw()

    def _header(self, interval: Interval | None, width: int) -> str:
        return recording_header(self.recording.origin.title, interval)

    def _pace(self) -> str:
        return f"{self.speed}×"

    def _draw_frame(self, interval: Interval | None) -> None:
        super()._draw_frame(interval)
        times, begin = self.recording.times, self.recording.start_ns
        now = int(times[max(self.at, 0)]) - begin
        length = max(int(times[-1]) - begin, 1)
        clock = time.strftime("%H:%M:%S", time.localtime(self.recording.began + now / 1e9))
        left, right = f"{clock} {_clock(now)}", _clock(length)
        self.query_one(Timeline).show(now / length, left, right)


def handy(n: int, count: int) -> int:
    """In a long recording, a sample near n that can be had with the one before it from two frames; not at the ends."""
    return n if count < 2 * GROUP * SEEK or n in (0, count - 1) else n - n % GROUP + 1


def _clock(ns: int) -> str:
    minutes, seconds = divmod(ns // 1_000_000_000, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
