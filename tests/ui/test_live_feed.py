"""The thread that reads a Source for the dashboard."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from textual.widgets import Static

from kvmtop.errors import KvmtopError
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.source import Wrapper
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.ui import glance, presenter
from kvmtop.ui.app import KvmtopApp, Tick
from kvmtop.ui.live_feed import LiveFeed

from ..support.dashboard import IO, Driver, driving, small_host, work
from ..support.fake import SECOND, Host


async def test_duration_ends_it() -> None:
    app = KvmtopApp(LiveFeed(small_host(), interval=0.2, duration=1.0))
    async with app.run_test() as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            if not app.is_running:
                break
    assert app.newest
    assert app.return_code == 0 and 1 <= len(app.newest.session.history) <= 5  # a busy machine skips some


async def test_a_source_that_fails_ends_it_with_its_reason() -> None:
    class Broken(Host):
        def read(self) -> Snapshot:
            raise KvmtopError("the kernel is gone")

    app = KvmtopApp(LiveFeed(Broken(), interval=0.05))
    async with app.run_test() as pilot:
        for _ in range(1000):
            if app.failure:
                break
            await pilot.pause(0.02)
    assert str(app.failure) == "the kernel is gone"


async def test_the_trouble_of_its_source_is_on_the_screen() -> None:
    host = Host()
    host.trouble = "recording ended after 4 samples"
    app = KvmtopApp(LiveFeed(Wrapper(host), interval=60))
    async with app.run_test():
        assert str(app.query_one("#status", Static).render()) == host.trouble


async def test_what_holds_a_reading_up_is_said_in_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvmtop.ui.app.HELD_UP", 0.01)
    host = small_host()
    async with driving(host, (100, 30)) as d:
        assert "loading" not in d.text()
        host.busy = "loading probes …"
        await d.until(lambda: "loading probes …" in d.text().split("\n")[0])
        host.busy = ""
        await d.tick()
        assert "loading" not in d.text()


async def test_a_reading_that_comes_while_another_is_drawn_changes_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The feed's thread may read at any moment: here it does whenever a table is made for the screen."""
    host = small_host()
    host.look(DetailRequest(frozenset({"io"}), slow_ns=1))
    async with driving(host, (160, 50)) as d:
        for keys, key in (((), None), (("x",), None), (("escape", "N", "home", "enter"), IO)):
            await d.press(*keys)
            assert d.app.viewpoint.reason == key
            work(host, 4001)
            host.touch(4001, "io", 0x3F8, 0x101, 40_000)
            host.linger(4001, IO[1], 7_000_000)
            host.now += SECOND
            reading = d.feed.read()
            d.app.on_tick(Tick(reading))
            await d.pilot.pause()
            undisturbed = d.text()
            assert ("COM1" in undisturbed) == (key == IO)
            with monkeypatch.context() as patched:
                for module, names in MAKE.items():
                    for name in names:
                        patched.setattr(module, name, meanwhile(d, getattr(module, name)))
                d.app.on_tick(Tick(reading))
                await d.pilot.pause()
            assert d.text() == undisturbed


MAKE = {
    presenter: ("trail", "figures", "finding_lines", "reason_page", "access_table", "slow_table"),
    glance: ("reason_table", "vcpu_table", "reason_page"),
}


def meanwhile(d: Driver, make: Callable[..., object]) -> Callable[..., object]:
    """What makes a table, after another thread has read."""

    def made(*args: object) -> object:
        work(d.host, 4001)
        d.host.linger(4001, IO[1], 9_000_000)
        d.host.now += SECOND
        thread = threading.Thread(target=d.feed.read)
        thread.start()
        thread.join()
        return make(*args)

    return made
