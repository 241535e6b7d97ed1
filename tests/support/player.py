"""The player without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from textual.pilot import Pilot

from kvmtop.recording.reader import Recording
from kvmtop.recording.store import Store
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed
from kvmtop.widgets.moment_field import MomentField


class Driver:
    def __init__(self, app: Player, feed: ReplayFeed, pilot: Pilot[None]) -> None:
        self.app, self.feed, self.pilot = app, feed, pilot

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, self.text()
            await asyncio.sleep(0.01)
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def go(self, text: str) -> None:
        """To a moment."""
        await self.press("at")
        self.app.query_one(MomentField).value = text
        await self.press("enter")

    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def text(self) -> str:
        return "\n".join(self.lines())

    def shown(self) -> int:
        """The interval that is on the screen."""
        assert self.app.shown
        store, snapshot = self.feed.recording, self.app.shown.snapshot
        return store.index(store.place(snapshot.time_ns, snapshot))


@contextlib.asynccontextmanager
async def driving(
    recording: Recording | Store, start: int = 0, size: tuple[int, int] = (120, 36)
) -> AsyncIterator[Driver]:
    feed = ReplayFeed(recording, start)
    app = Player(feed)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, feed, pilot)
        await driver.until(lambda: app.shown is not None)
        yield driver
