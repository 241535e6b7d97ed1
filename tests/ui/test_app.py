"""The dashboard, driven by keys and mouse over hand-built Snapshots."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from kvmtop.errors import KvmtopError
from kvmtop.insight.accesses import TOUCHED
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.source import Wrapper
from kvmtop.model.vocabulary import KINDS, SVM, DetailRequest, Names
from kvmtop.sanitize import clean
from kvmtop.ui.app import KvmtopApp
from kvmtop.widgets.help import Help
from kvmtop.widgets.reason_page import ReasonPage

from ..support.dashboard import HLT, IO, MSR, Driver, driving, small_host, work
from ..support.fake import SECOND, Busy, Host
from ..support.hostile import NASTY

SCREENS = Path(__file__).parents[1] / "data" / "screens"


async def test_shows_what_the_interval_brought() -> None:
    async with driving() as d:
        assert d.names() == ["hlt", "io", "msr"]
        assert d.cell("msr", "rate") == "30"
        assert d.cell("io", "avg") == "40.0µs"
        assert d.cell("io", "user") == "50.0%"
        assert d.cell("hlt", "time") == "1.20s"
        assert d.names("vms") == ["db01", "vCPU 0", "web01", "vCPU 0", "vCPU 1"]
        work(d.host, 4101)
        await d.tick()
        assert d.cell("msr", "rate") == "10"
        assert d.cell("msr", "total") == "40"
        assert "2 VMs" in d.text() and "3 vCPUs" in d.text()


@pytest.mark.parametrize(
    ("key", "column", "first"),
    [("E", "rate", "msr"), ("T", "time", "hlt"), ("A", "avg", "hlt"), ("P", "p99", "hlt"), ("M", "max", "hlt"),
     ("N", "reason", "hlt")],
)  # fmt: skip
async def test_sort_keys(key: str, column: str, first: str) -> None:
    async with driving() as d:
        await d.press("less_than_sign", key)
        assert (d.app.sorting, d.names()[0]) == (column, first)
        before = d.names()
        await d.press("r")
        assert d.names() == before[::-1]


async def test_stepping_through_the_columns_reaches_each() -> None:
    async with driving() as d:
        keys = [heading.key for heading in d.table().headings]
        seen = []
        for _ in keys:
            await d.press("greater_than_sign")
            seen.append(d.app.sorting)
        assert sorted(seen) == sorted(keys)
        await d.press("less_than_sign")
        assert d.app.sorting == seen[-2]


async def test_a_click_on_a_heading_sorts_and_again_reverses() -> None:
    async with driving() as d:
        x = sum(h.width + 1 for h in d.table().headings[:1]) + 2
        await d.pilot.click("#reasons", offset=(x, 0))
        assert (d.app.sorting, d.app.descending) == ("rate", True)
        await d.pilot.click("#reasons", offset=(x, 0))
        assert (d.app.sorting, d.app.descending) == ("rate", False)


async def test_drill_down_and_back_by_keys() -> None:
    async with driving() as d:
        await d.press("2", "end", "enter")  # web01's vCPU 1
        assert d.app.scope == Scope(4000, 4002)
        assert d.cell("msr", "rate") == "10"
        assert "All VMs › web01 › vCPU 1" in d.text()
        await d.press("home", "enter")
        assert d.app.reason == HLT and d.app.query_one(ReasonPage).display
        assert "All VMs › web01 › vCPU 1 › hlt" in d.text()
        await d.press("escape")
        assert d.app.reason is None and d.names() == ["hlt", "io", "msr"]
        await d.press("escape")
        assert d.app.scope == Scope(4000) and d.cell("msr", "rate") == "20"
        await d.press("escape")
        assert d.app.scope == ALL and d.cell("msr", "rate") == "30"


async def test_drill_down_and_back_by_mouse() -> None:
    async with driving() as d:
        await d.pilot.click("#vms", offset=(3, 3))
        assert d.app.scope == Scope(4000)
        await d.pilot.pause()
        await d.pilot.click("#reasons", offset=(3, 2))
        assert d.app.reason == IO
        await d.pilot.pause()
        assert "user 50.0%" in d.text()
        await d.pilot.click("#trail", offset=(3, 0))
        assert d.app.scope == ALL and d.app.reason is None


async def test_the_page_leads_to_the_vcpus_that_have_the_reason() -> None:
    async with driving() as d:
        d.host.exits(4101, 0x72, 3_000)
        await d.tick()
        await d.press("N", "home", "enter")
        assert d.app.reason == (SVM, 0x72)
        who = d.table("who")
        assert [list(row.cells)[:2] for row in who.rows] == [["db01", "vCPU 0"]]
        who.focus()
        await d.press("enter")
        assert d.app.scope.pid == 4100 and d.app.scope.thread is not None and d.app.reason is None


async def test_cursor_stays_on_its_row_when_the_order_changes() -> None:
    async with driving() as d:
        await d.press("T", "home", "down", "down")
        assert d.table().cursor == MSR
        d.host.exits(4001, MSR[1], *[3 * SECOND])
        await d.tick()
        assert d.names()[0] == "msr" and d.table().cursor == MSR and d.table().position == 0


async def test_scroll_keeps_the_cursor_in_its_place_on_the_screen() -> None:
    host = Host()
    host.add(1, "big")
    for code in range(100):
        host.exits(2, code, 1000 + code)
    async with driving(host, (80, 24)) as d:
        d.app.action_sort("total")
        await d.press("end", "pageup", "pageup")
        table = d.table()
        key, position, line = table.cursor, table.position, table.position - table.scroll_offset.y
        below = table.rows[95].key
        assert isinstance(below, tuple)
        host.exits(2, below[1], 1000)  # a row from below goes to the top
        await d.tick()
        assert (table.cursor, table.position) == (key, position + 1)
        assert table.position - table.scroll_offset.y == line


async def test_filter() -> None:
    async with driving() as d:
        await d.press("slash", *"m.r")
        assert d.names() == ["msr"]
        await d.press("enter")
        assert d.app.focused is d.table() and "/m.r" in d.text()
        await d.tick()
        assert d.names() == ["msr"]
        await d.press("escape")
        assert len(d.names()) == 3
        await d.press("slash", "[")  # no regular expression: taken as it is
        assert d.names() == [] and "no reason matches '['" in d.text()
        await d.press("escape")
        assert len(d.names()) == 3 and not d.app.query_one("#filter", Input).has_class("-on")
        await d.press("2", "slash", *"db")
        assert d.names("vms") == ["db01", "vCPU 0"] and len(d.names()) == 3


async def test_pause_holds_the_display_and_counts_on() -> None:
    async with driving() as d:
        await d.press("space")
        work(d.host, 4001)
        await d.tick()
        assert d.cell("msr", "rate") == "30" and "PAUSED" in d.text()
        await d.press("space")
        assert d.cell("msr", "rate") == "10" and d.cell("msr", "total") == "40"


async def test_totals_reset_and_idle() -> None:
    async with driving() as d:
        work(d.host, 4001)
        await d.tick()
        await d.press("t")
        assert d.cell("msr", "rate") == "20" and "since start" in d.text()  # 40 in two seconds
        await d.press("t", "i")
        assert d.cell("hlt", "time_share") == "–" and d.cell("io", "time_share") == "88.9%"
        await d.press("i", "z")
        work(d.host, 4001)
        await d.tick()
        assert d.cell("msr", "total") == "10"


async def test_totals_of_many_vcpus_do_not_hold_up_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvmtop.ui.app.MANY", 0)
    async with driving() as d:
        work(d.host, 4001)
        await d.tick()
        adding = threading.Event()
        add_up = d.app.session.total
        monkeypatch.setattr(d.app.session, "total", lambda: adding.wait(10) and add_up())
        await d.press("t")
        assert "adding up …" in d.text() and d.cell("msr", "rate") == "10"
        await d.press("t")
        assert "adding up …" not in d.text()  # rather not
        await d.press("t")
        adding.set()
        while not d.app.since_start:
            await asyncio.sleep(0.01)
        await d.press("E")
        assert "since start" in d.text() and "adding" not in d.text() and d.cell("msr", "rate") == "20"
        await d.press("t")
        assert "since start" not in d.text() and d.cell("msr", "rate") == "10"


async def test_interval_keys() -> None:
    async with driving() as d:
        d.app.seconds = 1.0
        await d.press("minus")
        assert d.app.seconds == 0.5
        await d.press("plus", "plus")
        assert d.app.seconds == 2.0 and "every 2s" in d.text()


async def test_help_lists_every_key_and_column() -> None:
    async with driving(size=(120, 100)) as d:
        await d.press("question_mark")
        assert isinstance(d.app.screen, Help)
        text = re.sub(r"\s+", " ", d.text())
        for words in ("End, and print the summary", "Reverse the order", "EXITS/S", "within 12.5 %", "First row"):
            assert words in text
        await d.press("escape")
        assert not isinstance(d.app.screen, Help)


async def test_summary_and_screenshot_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0)
    try:
        async with driving(dump=tmp_path / "out.txt") as d:
            await d.press("w", "s")
    finally:
        os.umask(mask)
    assert "0x07c: 30 60 2 2 2\n" in (tmp_path / "out.txt").read_text()
    (picture,) = tmp_path.glob("kvmtop-*.svg")
    assert "<svg" in picture.read_text()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


async def test_palette_offers_every_command() -> None:
    async with driving() as d:
        titles = {command.title for command in d.app.get_system_commands(d.app.screen)}
        assert {"Sort by P99", "Reverse the order", "Hold the display still; counting goes on"} <= titles


async def test_ended_vms_stay_until_cleared_and_new_ones_appear() -> None:
    async with driving() as d:
        d.host.end(4100)
        d.host.add(4200, "new01")
        await d.tick()
        assert d.names("vms") == ["new01", "vCPU 0", "web01", "vCPU 0", "vCPU 1", "db01", "vCPU 0"]
        assert "ended" in d.text()
        await d.press("2", "end", "enter")
        assert d.app.scope.pid == 4100 and "db01 (ended)" in d.text()
        await d.press("c")
        assert d.names("vms")[-1] == "vCPU 1" and d.app.scope == ALL


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 50), (200, 60), (40, 8)])
async def test_every_size(size: tuple[int, int]) -> None:
    async with driving(Busy(), size) as d:
        await d.tick(3)
        for keys in ((), ("1",), ("2",), ("3",), ("1", "enter"), ("escape", "question_mark"), ("escape", "slash")):
            await d.press(*keys)
            await d.tick()
            lines = d.text().split("\n")
            assert len(lines) == size[1]
            assert not keys or "?" in keys or len("".join(lines).strip()) > size[0]
        await d.press("escape")
        await d.pilot.resize_terminal(60, 15)
        await d.press("1")
        await d.tick()
        assert "hlt" in d.text() and "kvmtop" in d.text()


async def test_one_pane_at_a_time_where_it_is_narrow() -> None:
    async with driving(size=(80, 24)) as d:
        assert d.table().size.width == 80 and not d.table("vms").size.width
        await d.press("tab")
        assert d.table("vms").size.width == 80 and not d.table().size.width
        await d.press("down", "down", "enter")  # a VM leads back to its reasons
        assert d.app.scope == Scope(4000) and d.table().size.width == 80
        await d.press("3")
        assert d.app.query_one("#chart").size.width and "Exits a second" in d.text()


async def test_a_click_on_a_panes_title_shows_it() -> None:
    async with driving(size=(80, 24)) as d:
        for x, pane in ((16, "vms"), (25, "chart"), (3, "reasons")):
            await d.pilot.click("#panes", offset=(x, 0))
            assert d.app.query_one("#body").has_class(f"-{pane}"), pane


@pytest.mark.parametrize("theme", ["kvmtop-light", "textual-dark", "textual-light"])
async def test_other_themes(theme: str) -> None:
    async with driving() as d:
        d.app.theme = theme
        await d.tick()
        await d.press("home", "enter")
        assert "All VMs › hlt" in d.text()


async def test_parts_are_told_apart_without_colour() -> None:
    async with driving() as d:
        bar = d.text().split("\n")[2]
        assert len({bar[bar.index(f" {part} ") - 1] for part in ("guest", "kernel", "user", "idle", "wait")}) == 5


@pytest.mark.parametrize("name", NASTY)
async def test_hostile_names(name: str) -> None:
    from kvmtop.sanitize import clean

    host = small_host()
    host.add(4300, clean(name))
    host.exits(4301, IO[1], 1000)
    for size in ((80, 24), (120, 50)):
        async with driving(host, size) as d:
            await d.press("2", "home")
            await d.press("home", "enter")
            text = d.text()
            assert "\x1b" not in text and "\u202e" not in text
            for line in d.app.screen._compositor.render_strips():
                assert sum(segment.cell_length for segment in line) == size[0]
            if name.startswith("["):
                assert "[bold red]x[/]" in "".join(d.names("vms"))


async def test_nothing_to_show_says_why() -> None:
    async with driving(Host()) as d:
        assert "no exit yet" in d.text()
        await d.tick(4)
        assert "no VM runs here" in d.text()
        d.host.counters["userspace"] = 51
        await d.tick()
        assert "this kernel's KVM emits no kvm_exit" in d.text()


async def test_a_quiet_interval() -> None:
    async with driving() as d:
        await d.tick()
        assert d.cell("msr", "rate") == "0" and d.cell("msr", "avg") == "–" and d.cell("msr", "total") == "30"
        await d.press("home", "enter")
        assert "no such exit in this interval" in d.text()


async def test_many_reasons_and_vcpus() -> None:
    host = Host(Names())
    host.add(1, "huge", 40)
    for tid in list(host.vcpus):
        for code in range(300):
            host.exits(tid, code, 1000)
    async with driving(host) as d:
        assert len(d.table().rows) == 300
        await d.press("end")
        assert d.table().position == 299


async def test_a_stuck_vcpu_is_marked() -> None:
    async with driving() as d:
        thread = d.host.vcpus[4101]
        thread.open = (SVM, IO[1], d.host.now, d.host.now)
        await d.tick(2)
        assert "user 2.00s" in d.text() and "STUCK" not in d.text()
        await d.tick(2)
        assert "STUCK user 4.00s" in d.text().replace("…", "") or "STUCK user" in d.text()
        assert d.cell("io", "time") == "1.00s"  # each second shows its own second


async def test_lost_exits_are_said() -> None:
    async with driving() as d:
        d.host.counters["lost"] = 7
        await d.tick()
        assert "7 exits lost" in d.text() and "LOST 7" in d.text()


async def test_duration_ends_it() -> None:
    app = KvmtopApp(small_host(), interval=0.2, duration=1.0)
    async with app.run_test() as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            if not app.is_running:
                break
    assert app.return_code == 0 and 2 <= len(app.session.history) <= 5  # a busy machine may skip some


async def test_a_source_that_fails_ends_it_with_its_reason() -> None:
    class Broken(Host):
        def read(self) -> Snapshot:
            raise KvmtopError("the kernel is gone")

    app = KvmtopApp(Broken(), interval=0.05)
    async with app.run_test() as pilot:
        for _ in range(1000):
            if app.failure:
                break
            await pilot.pause(0.02)
    assert str(app.failure) == "the kernel is gone"


async def test_the_trouble_of_its_source_is_on_the_screen() -> None:
    host = Host()
    host.trouble = "recording ended after 4 samples"
    app = KvmtopApp(Wrapper(host), interval=60)
    async with app.run_test():
        assert str(app.query_one("#status", Static).render()) == host.trouble


@pytest.mark.parametrize("size", [(80, 24), (120, 50), (200, 60)])
@pytest.mark.parametrize("keys", [(), ("2", "end", "enter"), ("down", "enter")], ids=["all", "vcpu", "page"])
async def test_screens_look_as_they_did(size: tuple[int, int], keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
                                        request: pytest.FixtureRequest) -> None:  # fmt: skip
    """KVMTOP_UPDATE_SCREENS=1 accepts what is drawn now."""
    monkeypatch.setattr("platform.node", lambda: "host")
    monkeypatch.setattr("platform.release", lambda: "6.12.0")
    async with driving(Busy(), size) as d:
        await d.tick(12)
        await d.press(*keys)
        await d.tick()
        file = SCREENS / f"{request.node.callspec.id}.txt"
        if os.environ.get("KVMTOP_UPDATE_SCREENS"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(d.text() + "\n")
        assert d.text() + "\n" == file.read_text()


# ---- from what to why: what exits touch, slow exits, findings


class Looked(Host):
    """Writes down what it was asked to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[DetailRequest | None] = []

    def look(self, look: DetailRequest | None) -> None:
        if not self.asked or look != self.asked[-1]:
            self.asked.append(look)
        super().look(look)


def looked_host() -> Looked:
    host = Looked()
    host.add(4000, clean("web\x1b[31m[bold]01"), 2)
    host.add(4100, "db01", 1)
    for tid in (4001, 4002, 4101):
        work(host, tid)
    return host


def touch(host: Host) -> None:
    for tid in (4001, 4002, 4101):
        work(host, tid)
    host.touch(4001, "io", 0x3F8, 0x101, *[40_000] * 30, user=20_000)
    host.touch(4101, "io", 0x60, 0x100, *[10_000] * 10)
    host.touch(4001, "rip", 0xFFFFFFFF81000010, 0, *[40_000] * 40)
    host.linger(4001, IO[1], 7_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.linger(4101, MSR[1], 9_000_000, kind="msr", value=0x10)


async def until_drawn(d: Driver) -> None:
    for _ in range(5):
        await d.pilot.pause(0.05)


SMALL_AND_WIDE = pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])


@SMALL_AND_WIDE
async def test_a_reasons_page_asks_for_its_details_and_leaving_it_for_none(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        assert host.wish is None
        d.app.go(ALL, IO)
        assert host.wish is not None
        assert host.wish.only == IO and host.wish.kinds == frozenset(KINDS) - {""}
        assert host.wish.slow_ns is not None and host.wish.slow_ns >= 1
        await until_drawn(d)
        assert not d.table("touched").rows and "attached" in d.table("touched").empty
        touch(host)
        await d.tick()
        await until_drawn(d)
        labels = [str(row.cells[0]) for row in d.table("touched").rows]
        assert labels[0] == "port 0x3f8 COM1 out 1 B" and labels[1].startswith("port 0x60 ") and len(labels) == 2
        assert [row.cells[0] for row in d.table("code").rows] == ["0xffffffff81000010 (kernel)"]
        assert len(d.table("slow").rows) == 1  # the other is of another reason
        assert "COM1" in d.text() or size[1] == 24
        await d.press("escape")
        assert d.app.reason is None and host.wish is None
        assert d.app.query_one("#body").display


@SMALL_AND_WIDE
async def test_a_page_has_its_meaning_and_its_tables_fit(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        d.app.go(ALL, IO)
        touch(host)
        await d.tick()
        await until_drawn(d)
        assert "Usual causes" in str(d.app.query_one("#meaning").render())
        for name in ("touched", "code"):
            table = d.table(name)
            assert table.size.width > 0
            assert sum(heading.width + 1 for heading in table.headings) <= table.size.width
            at = [heading.key for heading in table.headings].index("rate")
            assert table.rows[0].cells[at] == ("30" if name == "touched" else "40")


async def test_rates_of_a_page_are_over_the_time_looked_at() -> None:
    host = looked_host()
    async with driving(host) as d:
        host.now += SECOND // 2
        d.app.go(ALL, IO)
        host.touch(4001, "io", 0x3F8, 0x101, *[40_000] * 30)
        host.now -= SECOND // 2  # tick() adds a second
        await d.tick()
        await until_drawn(d)
        at = [heading.key for heading in d.table("touched").headings].index("rate")
        assert d.table("touched").rows[0].cells[at] == "60"


async def test_a_page_follows_the_scope() -> None:
    host = looked_host()
    async with driving(host) as d:
        d.app.go(Scope(4100), IO)
        touch(host)
        await d.tick()
        await until_drawn(d)
        assert [str(row.cells[0])[:9] for row in d.table("touched").rows] == ["port 0x60"]
        assert not d.table("code").rows


async def test_another_reasons_page_shows_nothing_of_the_first() -> None:
    host = looked_host()
    async with driving(host) as d:
        d.app.go(ALL, IO)
        touch(host)
        await d.tick()
        await until_drawn(d)
        assert d.table("touched").rows
        d.app.go(ALL, MSR)
        await until_drawn(d)
        assert not d.table("touched").rows and host.wish is not None and host.wish.only == MSR


async def test_halt_polling_is_on_the_pages_of_halts_alone() -> None:
    host = looked_host()
    async with driving(host) as d:
        for key, shown in ((HLT, True), (IO, False), (HLT, True)):
            d.app.go(ALL, key)
            host.touch(4001, "poll", 0, 0, *[10_000] * 5)
            await d.tick()
            await until_drawn(d)
            assert d.app.query_one("#polling").has_class("-on") == shown
        assert str(d.table("polling").rows[0].cells[-1]).startswith("cheap: 100% of 5 polls")


@SMALL_AND_WIDE
async def test_the_key_x_opens_the_slowest_and_escape_leaves_them(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        await d.press("x")
        assert d.app.slowest and host.wish is not None
        assert host.wish.only is None and host.wish.kinds == TOUCHED and host.wish.slow_ns
        assert "The slowest exits of the last interval" in d.text() and "slowest exits" in d.text()
        assert "none yet" in d.text()
        touch(host)
        await d.tick()
        await until_drawn(d)
        for name in ("slow-interval", "slow-run"):
            lasted = [heading.key for heading in d.table(name).headings].index("ns")
            assert [row.cells[lasted] for row in d.table(name).rows] == ["9.00ms", "7.00ms"]
        assert "9.00ms" in d.text() and "web [31m[b" in d.text() and "\x1b" not in d.text()
        await d.tick()
        assert not d.table("slow-interval").rows and len(d.table("slow-run").rows) == 2
        await d.press("escape")
        assert not d.app.slowest and host.wish is None and d.names()
        await d.press("x")
        assert len(d.table("slow-run").rows) == 2
        await d.press("x")
        assert not d.app.slowest and host.wish is None


async def test_x_on_a_page_leaves_the_page() -> None:
    host = looked_host()
    async with driving(host) as d:
        d.app.go(ALL, IO)
        await d.press("x")
        assert d.app.slowest and d.app.reason is None and host.wish is not None and host.wish.only is None
        assert not d.app.query_one(ReasonPage).display


async def test_what_the_options_ask_for_is_looked_at_all_the_time() -> None:
    host = looked_host()
    always = DetailRequest(frozenset({"io"}), slow_ns=5_000_000)
    async with driving(host, look=always) as d:
        assert host.wish == always
        await d.press("x")
        assert host.wish is not None and host.wish.slow_ns == 5_000_000
        await d.press("escape")
        assert host.wish == always


@SMALL_AND_WIDE
async def test_findings_are_shown_and_hidden(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        assert not d.app.query_one("#findings").display
        host.exits(4001, IO[1], 700_000_000, user=690_000_000)
        await d.tick()
        await until_drawn(d)
        sentence = "! vCPU 0 of web [31m[bold]01 spends 69.0% of its time in user space"
        assert sentence in d.text()
        await d.press("f")
        assert sentence not in d.text() and not d.app.query_one("#findings").display
        host.exits(4001, IO[1], 700_000_000, user=690_000_000)
        await d.tick()
        assert sentence not in d.text()
        await d.press("f")
        assert sentence in d.text()
        await d.tick()  # a quiet second
        await until_drawn(d)
        assert not d.app.query_one("#findings").display


async def test_what_had_no_room_is_said_on_the_page() -> None:
    class Full(Looked):
        def read(self) -> Snapshot:
            snapshot = super().read()
            details = snapshot.details
            return replace(snapshot, details=details and replace(details, dropped={"io": 12}))

    host = Full()
    host.add(4000, "web01", 1)
    work(host, 4001)
    async with driving(host) as d:
        d.app.go(ALL, IO)
        await d.tick()
        await until_drawn(d)
        assert d.app.query_one("#dropped").has_class("-on")
        assert "12 I/O ports events" in d.text()
