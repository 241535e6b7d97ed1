"""kvmtop on the screen: takes Readings from a Feed, whose thread reads on meanwhile."""

from __future__ import annotations

import gc
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.message import Message

from ..config.file import Config
from ..errors import KvmtopError, tell
from ..model.scope import ALL
from ..model.vocabulary import UNKNOWN
from ..reference.labels import Labels
from ..widgets.timeline_page import TimelinePage
from . import keys
from .arrangement import Arrangement
from .arranging import Arranging
from .dashboard import Dashboard
from .diagnosing import Diagnosing
from .feed import Feed, Reading
from .taking import Taking
from .viewpoint import PAST, Viewpoint

HELD_UP = 1.0  # seconds after which it is said what holds a reading up
MANY = 20_000  # vCPUs times reasons whose totals take some 30 ms to add up


@dataclass
class Tick(Message):
    """The feed has delivered. Only the newest matters."""

    reading: Reading

    def can_replace(self, message: Message) -> bool:
        """Coalesce where drawing cannot keep up."""
        return isinstance(message, Tick)


@dataclass
class Over(Message):
    """The feed has ended by itself; error: why, where it could not go on."""

    error: Exception | None = None


class KvmtopApp(Diagnosing, Taking, Arranging, Dashboard):
    """The dashboard over a Feed."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.DASHBOARD]

    def __init__(
        self,
        feed: Feed,
        viewpoint: Viewpoint | None = None,
        dump: Path | None = None,
        isa: int = UNKNOWN,
        labels: Labels | None = None,
        config: Config | None = None,
    ) -> None:
        """viewpoint: where to begin; dump and isa are for the key that writes the summary.

        labels: the names of what exits touch; config: where how it looks is kept.
        """
        super().__init__(feed, viewpoint, labels)
        self._dump, self._isa = dump, isa
        self.arrangement = Arrangement(self, feed, self.viewpoint, config)
        self._reader = threading.Thread(target=self._read, name="reader", daemon=True)

    def on_mount(self) -> None:
        """Start reading."""
        self._reader.start()
        self.set_interval(HELD_UP, self._tell_what_holds_it_up)

    def on_ready(self) -> None:
        """What there is by now stays to the end: looking for garbage in it would hold up the screen for 60 ms."""
        gc.freeze()

    def on_unmount(self) -> None:
        """Let the reader end at once."""
        self.feed.stop()
        gc.unfreeze()

    def rest(self) -> None:
        """Let the reader finish: it may be attaching probes, which takes long on a slow host."""
        if self._reader.ident:
            self._reader.join(1)
            if self._reader.is_alive():
                tell("waiting for the last reading …")
                self._reader.join()

    def _read(self) -> None:
        """In a thread of its own, not Textual's, which would hold up the end."""
        try:
            over = self.feed.run(self._receive)
        except Exception as error:
            self.post_message(Over(error))
        else:
            if over:
                self.post_message(Over())

    def on_over(self, event: Over) -> None:
        """Nothing more is to come."""
        if event.error and not isinstance(event.error, KvmtopError):
            raise event.error
        self.failure = event.error  # type: ignore[assignment]
        self.exit()

    def _receive(self, reading: Reading) -> None:
        """In the feed's thread."""
        reading = self.viewpoint.adapted(reading)
        self.presenter.prepare(reading, self.viewpoint.since_start or bool(self.doing))
        self.post_message(Tick(reading))

    def _tell_what_holds_it_up(self) -> None:
        """Until the next reading comes."""
        if self.is_running and self.feed.busy:
            self.redraw_frame()

    def on_tick(self, tick: Tick) -> None:
        """New figures, unless the display is held."""
        if not self.is_running:  # its widgets go first when it ends
            return
        self.newest = self.viewpoint.arrived(tick.reading)
        self.examine(tick.reading.snapshot)
        self.look()
        if not self.feed.goes_on:
            self._show(self.newest)
        self.redraw()

    def _show(self, reading: Reading) -> None:
        self.shown = reading
        self.presenter.findings(reading)

    def action_pause(self) -> None:
        """Hold the display, or go on."""
        if self.viewpoint.timeline and (timeline := self.query_one(TimelinePage)).pinned and not self.feed.paused:
            timeline.go_live()
            return
        self.feed.pause(not self.feed.paused)
        if self.newest and not self.feed.paused:
            self._show(self.newest)
        self.redraw()

    def action_interval(self, by: int) -> None:
        """The next longer or shorter interval."""
        self.feed.faster(-by)
        self.redraw()

    def action_totals(self) -> None:
        """Interval or since the start."""
        at = self.viewpoint
        if self.shown and len(self.shown.interval.rows) > MANY and not at.since_start:
            self.doing = "" if self.doing else "adding up …"
            self.redraw_frame()  # answers the key, until the figures are there
            if self.doing:
                self._add_up(self.shown)
        else:
            at.since_start = not at.since_start
            self.redraw()

    @work(thread=True, group="totals")
    def _add_up(self, reading: Reading) -> None:
        def added_up() -> None:
            if self.doing and self.is_running:
                self.doing, self.viewpoint.since_start = "", True
                self.redraw()

        self.presenter.prepare(reading, totals=True)
        self.call_from_thread(added_up)

    def action_reset(self) -> None:
        """Totals and trends start anew."""
        if self.shown and self.newest:
            at = self.viewpoint
            at.baseline = self.shown.snapshot  # not the newest: what is shown while it is held would be before it
            self.shown, self.newest = at.adapted(self.shown), at.adapted(self.newest)
        self.redraw()
        self.notify("Totals and trends count from now. The closing summary still covers the whole run.")

    def action_clear(self) -> None:
        """Hide VMs that have ended."""
        if self.shown:
            at = self.viewpoint
            at.hidden |= {vm.pid for vm in self.shown.snapshot.vms.values() if vm.ended}
            at.past = deque((place for place in at.past if place[0].pid not in at.hidden), PAST)
            if at.scope.pid in at.hidden:
                self.go(ALL)
            self.redraw()
