"""The dashboard, driven by a test."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from textual.pilot import Pilot

from kvmtop.model.vocabulary import SVM, DetailRequest
from kvmtop.tables.exit_reasons import BY_KEY
from kvmtop.ui.app import KvmtopApp, Tick
from kvmtop.ui.feed import Reading
from kvmtop.ui.live_feed import LiveFeed
from kvmtop.widgets.table import Table

from .fake import SECOND, Busy, Host

HLT, IO, MSR = (SVM, 0x78), (SVM, 0x7B), (SVM, 0x7C)


class Driver:
    """An app whose time passes only when told."""

    def __init__(self, app: KvmtopApp, feed: LiveFeed, pilot: Pilot[None], host: Host) -> None:
        self.app, self.feed, self.pilot, self.host = app, feed, pilot, host

    @property
    def shown(self) -> Reading:
        assert self.app.shown
        return self.app.shown

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            if not isinstance(self.host, Busy):
                self.host.now += SECOND
            self.app.on_tick(Tick(self.feed.read()))
            await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self._drawn()
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what comes with a later frame."""
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    async def _drawn(self) -> None:
        """Until what the last key led to is on the screen: a busy machine looks idle to the pilot's pause.

        A key goes from the app to who has the focus, and what that does not know back to the app.
        """
        for ask in (
            self.app.call_later,
            (self.app.focused or self.app.screen).call_later,
            self.app.screen.call_later,
            self.app.call_later,
            self.app.call_after_refresh,
            self.app.screen.call_after_refresh,
        ):
            done = asyncio.Event()
            ask(done.set)
            while self.app.is_running and not done.is_set():
                await asyncio.sleep(0.001)

    def table(self, id: str = "reasons") -> Table:
        return self.app.query_one(f"#{id}", Table)

    def names(self, id: str = "reasons") -> list[str]:
        return [str(row.cells[0]).strip(" ›▾▸") for row in self.table(id).rows]

    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    def cell(self, name: str, column: str) -> str:
        """Of a reason's row; of a column that is not seen what it would show."""
        table = self.table()
        row = next(row for row in table.rows if str(row.cells[0]) in (name, f"{name} idle"))
        seen = [heading.key for heading in table.headings]
        if column in seen:
            return str(row.cells[seen.index(column)])
        at = self.app.viewpoint
        lines = self.shown.session.lines(at.interval(self.shown), at.scope, at.idle)
        return str(BY_KEY[column].cell(next(line for line in lines if line.reason.key == row.key)))


@contextlib.asynccontextmanager
async def driving(
    host: Host | None = None,
    size: tuple[int, int] = (120, 50),
    look: DetailRequest | None = None,
    dump: Path | None = None,
) -> AsyncIterator[Driver]:
    host = host or small_host()
    feed = LiveFeed(host, interval=3600, look=look)
    app = KvmtopApp(feed, dump=dump)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, feed, pilot, host)
        app.presenter.glance.steady = None  # the order is that of the figures at once
        await driver.tick()
        yield driver


def small_host() -> Host:
    """web01 with two vCPUs and db01 with one; in the first second 10 msr, 4 io (half user space), 2 hlt each."""
    host = Host()
    host.add(4000, "web01", 2)
    host.add(4100, "db01", 1)
    for tid in (4001, 4002, 4101):
        work(host, tid)
    return host


def work(host: Host, tid: int) -> None:
    host.exits(tid, MSR[1], *[2_000] * 10)
    host.exits(tid, IO[1], *[40_000] * 4, user=20_000)
    host.exits(tid, HLT[1], *[200_000_000] * 2)
    host.vcpus[tid].states["guest"] += SECOND - 400_180_000
