"""The screen goes when somebody wants it to, whatever the reader does."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

from kvmtop.model.snapshot import Snapshot
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed

from ..support.dashboard import driving
from ..support.fake import Busy


class Stuck(Busy):
    """Its second reading takes until somebody lets it go: probes are being attached."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go_on, self.readings = threading.Event(), threading.Event(), 0

    def read(self) -> Snapshot:
        self.readings += 1
        if self.readings == 2:
            self.began.set()
            self.go_on.wait(60)
        return super().read()


async def test_q_ends_the_screen_while_the_reader_is_stuck() -> None:
    host = Stuck()
    app = KvmtopApp(LiveFeed(host, interval=0.05))
    async with app.run_test() as pilot:
        while not host.began.is_set():
            await asyncio.sleep(0.01)
        await pilot.press("q")
    assert not host.go_on.is_set()  # it has ended, and the reader has not
    ended = threading.Thread(target=app.rest)
    ended.start()
    time.sleep(0.2)
    assert ended.is_alive()  # the source may not be closed before
    host.go_on.set()
    ended.join(30)
    assert not ended.is_alive() and app.failure is None


async def test_what_the_reader_fails_with_is_told() -> None:
    class Broken(Busy):
        def read(self) -> Snapshot:
            raise ZeroDivisionError

    app = KvmtopApp(LiveFeed(Broken(), interval=0.05))
    try:
        async with app.run_test():
            while not app.failure:
                await asyncio.sleep(0.01)
    except ZeroDivisionError:
        pass  # run_test raises what nobody has caught
    assert app.failure and "ZeroDivisionError" in str(app.failure)


async def test_garbage_is_not_looked_for_in_what_stays_to_the_end() -> None:
    before = gc.get_freeze_count()
    async with driving():
        assert gc.get_freeze_count() > before + 10_000
    assert gc.get_freeze_count() <= before
