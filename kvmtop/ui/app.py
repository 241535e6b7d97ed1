"""kvmtop on the screen: takes Readings from a Feed, whose thread reads on meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.message import Message

from ..errors import KvmtopError
from ..model.scope import ALL
from ..model.vocabulary import UNKNOWN
from ..output import summary
from ..reference.labels import Labels
from . import keys
from .dashboard import Dashboard
from .feed import Feed, Reading
from .viewpoint import Viewpoint

MANY = 20_000  # vCPUs times reasons whose totals take some 30 ms to add up


@dataclass
class Tick(Message):
    """The feed has delivered. Only the newest matters."""

    reading: Reading

    def can_replace(self, message: Message) -> bool:
        """Coalesce where drawing cannot keep up."""
        return isinstance(message, Tick)


class KvmtopApp(Dashboard):
    """The dashboard over a Feed."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.DASHBOARD]

    def __init__(
        self,
        feed: Feed,
        viewpoint: Viewpoint | None = None,
        dump: Path | None = None,
        isa: int = UNKNOWN,
        labels: Labels | None = None,
    ) -> None:
        """viewpoint: where to begin; dump and isa are for the key that writes the summary.

        labels: the names of what exits touch.
        """
        super().__init__(feed, viewpoint, labels)
        self._dump, self._isa = dump, isa

    def on_mount(self) -> None:
        """Start reading."""
        self._read()

    def on_unmount(self) -> None:
        """Let the reader end at once."""
        self.feed.stop()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        try:
            if not self.feed.run(self._receive):
                return
        except KvmtopError as error:
            self.failure = error
        self.call_from_thread(self.exit)

    def _receive(self, reading: Reading) -> None:
        """In the feed's thread."""
        reading = self.viewpoint.adapted(reading)
        self.presenter.prepare(reading, self.viewpoint.since_start or bool(self.doing))
        self.post_message(Tick(reading))

    def on_tick(self, tick: Tick) -> None:
        """New figures, unless the display is held."""
        if not self.is_running:  # its widgets go first when it ends
            return
        self.newest = self.viewpoint.arrived(tick.reading)
        self.look()
        if not self.feed.goes_on:
            self._show(self.newest)
        self.redraw()

    def _show(self, reading: Reading) -> None:
        self.shown = reading
        self.presenter.findings(reading)

    def action_pause(self) -> None:
        """Hold the display, or go on."""
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
            if at.scope.pid in at.hidden:
                self.go(ALL)
            self.redraw()

    def action_summary(self) -> None:
        """The summary so far, as a file."""
        if self.newest:
            path = self._dump or Path(time.strftime("kvmtop-%Y%m%d-%H%M%S.txt"))
            self._save(path, summary.text(self.newest.snapshot, self._isa))

    def action_save_picture(self) -> None:
        """This screen as SVG."""
        self._save(Path(time.strftime("kvmtop-%Y%m%d-%H%M%S.svg")), self.export_screenshot())

    def _save(self, path: Path, text: str) -> None:
        try:
            summary.write(path, text)
        except OSError as error:
            self.notify(f"cannot write {path}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"written: {path}", markup=False)
