"""The dashboard over a recording: play, pause, step, seek, at 1 to 60 times the speed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Input

from .. import units
from ..config.file import Config
from ..errors import KvmtopError
from ..model.vocabulary import UNKNOWN
from ..recording.moment import FORMS
from ..reference.labels import Labels
from ..widgets.area import ColumnClicked
from ..widgets.moment_field import Asked, MomentField
from ..widgets.overview import Overview
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import SlowPage
from ..widgets.timeline import Sought, Timeline
from . import keys
from .app import KvmtopApp, Tick
from .marking import Marking
from .replay_feed import ReplayFeed
from .viewpoint import Viewpoint

DAY = 86_400.0  # s
ZONED = 100  # columns


class Coming(Message):
    """From a thread; of several only the newest matters."""

    def can_replace(self, message: Message) -> bool:
        """Coalesce where drawing cannot keep up."""
        return isinstance(message, type(self))


class Marked(Coming):
    """An interval was looked at."""


@dataclass
class Searching(Coming):
    """How far the search for a finding is."""

    place: int


@dataclass
class Found(Message):
    """Where the finding is that was asked for; None: there is none."""

    place: int | None


class Player(KvmtopApp):
    """Adds the keys that a recording has, and its timeline."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.PLAYER]

    def __init__(
        self,
        replay: ReplayFeed,
        viewpoint: Viewpoint | None = None,
        dump: Path | None = None,
        isa: int = UNKNOWN,
        labels: Labels | None = None,
        config: Config | None = None,
    ) -> None:
        """As KvmtopApp's."""
        super().__init__(replay, viewpoint, dump, isa, labels, config)
        self.replay = replay
        self.marking = Marking(replay.recording, self.viewpoint.limits, self._idle, lambda: self.post_message(Marked()))
        self._right = ""
        self._searching = 0  # in which direction somebody waits for a finding

    def compose(self) -> ComposeResult:
        """The timeline is the last line but the keys."""
        yield from super().compose()
        yield MomentField(FORMS, id="moment")
        yield Timeline(id="timeline")

    def on_mount(self) -> None:
        """The whole run in the timeline; panes and pages without what is about probes to come."""
        self.query_one(Overview).leave_out_probes()
        self.query_one(ReasonPage).recorded = self.query_one(SlowPage).recorded = True
        self.query_one(SchedulerPage).recorded = True
        self.query_one(Timeline).load(self.replay.rates)
        self.marking.start()
        self._show_time(0, self.replay.recording.first)

    def on_tick(self, tick: Tick) -> None:
        """KvmtopApp's is called, too."""
        if self.is_running:
            snapshot, recording = tick.reading.snapshot, self.replay.recording
            place = recording.place(snapshot.time_ns, snapshot)
            self._show_time(place - recording.start_ns, recording.clock(snapshot))

    def _show_time(self, now: int, wall: float) -> None:
        """now: ns since the beginning; wall: s since 1970."""
        recording = self.replay.recording
        length = max(int(recording.times[-1]) - recording.start_ns, 1)
        local = time.localtime(wall)
        # Of more than a day, which one; and by which zone's clock.
        day = "%a %d %b " if recording.last - recording.first > DAY else ""
        clock = time.strftime(f"{day}%H:%M:%S %Z", local)
        self._right = units.clock(length)
        self.query_one(Timeline).show(now / length, f"{clock} {units.clock(now)}", self._right + self._looked_at())

    def _looked_at(self) -> str:
        """How much of it the marks are of, as long as that is not all."""
        share = self.marking.share
        if share >= 1 or self.size.width < ZONED or not self.marking.seen:
            return ""
        return f" (marks: of {units.percent(share)})" if share >= 0.0005 else " (marks: of few)"

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Arrows and braces belong to a field that is typed in, and to a screen on top."""
        if action in ("interval", "memory"):
            return False
        if action in ("step", "seek", "moment") and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return False
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        """To the next interval or the one before."""
        self._elsewhere()
        self.replay.step(by)

    def action_seek(self, by: int) -> None:
        """Far."""
        self._elsewhere()
        self.replay.seek(by)

    def on_unmount(self) -> None:
        """Nobody looks for findings any more."""
        self.marking.stop()

    def _idle(self) -> bool:
        return self.replay.resting and not self._searching

    def on_marked(self, event: Marked) -> None:
        """An interval was looked at."""
        self._show_marks()

    def _show_marks(self) -> None:
        if self.is_running:
            recording = self.replay.recording
            length = max(int(recording.times[-1]) - recording.start_ns, 1)
            places = [(int(recording.times[n]) - recording.start_ns) / length for n in self.marking.marks]
            self.query_one(Timeline).mark(places, self._right + self._looked_at())

    def action_find(self, by: int) -> None:
        """The next finding, or the last."""
        self._searching = by
        start = self.replay.hold()
        self.marking.find(start, by, lambda n: self.post_message(Found(n)), lambda n: self.post_message(Searching(n)))

    def on_found(self, event: Found) -> None:
        """Go there, if somebody still waits for it."""
        by, self._searching = self._searching, 0
        if not by or not self.is_running:
            return
        if event.place is None:
            self.notify(f"No finding begins {'after' if by > 0 else 'before'} this interval.")
        else:
            self._show_marks()
            self.replay.go_to_interval(event.place)
        self.redraw_frame()

    def on_searching(self, event: Searching) -> None:
        """How far it is."""
        if self._searching and self.is_running:
            self.doing = f"looking for a finding: {event.place:,} of {len(self.replay.recording):,}"
            self.redraw_frame()
            self.doing = ""

    def _elsewhere(self) -> None:
        """Somebody goes somewhere: nobody waits for a finding any more."""
        self.marking.give_up()
        self._searching = 0

    def action_moment(self) -> None:
        """Ask for it."""
        self.query_one(MomentField).ask()

    @on(Asked)
    def _asked(self, event: Asked) -> None:
        if event.text:
            self._elsewhere()
            try:
                self.replay.go_to_moment(event.text)
            except KvmtopError as error:
                self.notify(str(error), severity="warning")
                return
        self.query_one(MomentField).close()
        self.query_one(Overview).focus_table()
        self.call_after_refresh(self.redraw)

    def action_go_to(self, share: float) -> None:
        """To a share of the run, 0 to 1."""
        self._elsewhere()
        self.replay.go_to(share)

    @on(Sought)
    def _clicked(self, event: Sought) -> None:
        self.replay.go_to(event.share)

    @on(ColumnClicked, "#area")
    def _column_clicked(self, event: ColumnClicked) -> None:
        if self.shown and event.index < len(self.shown.session.history):
            self.replay.go_to_instant(self.shown.session.history[event.index].time_ns)

    def action_speed(self, by: int) -> None:
        """The next speed."""
        self.replay.faster(by)
        self.redraw()
