"""From what to why: what exits touch, slow exits, findings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.accesses import TOUCHED
from kvmtop.model.price import Price, Taken
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import KINDS, SAMPLED, SVM, DetailRequest
from kvmtop.sanitize import clean
from kvmtop.ui.live_feed import LiveFeed
from kvmtop.widgets.reason_page import ReasonPage

from ..support.dashboard import HLT, IO, MSR, Driver, driving, work
from ..support.fake import SECOND, Host

INTERRUPT = (SVM, 0x60)


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
        assert d.app.viewpoint.reason is None and host.wish is None
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


@SMALL_AND_WIDE
async def test_the_page_of_the_hosts_interrupts_tells_where_the_guest_is(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        for key, title in ((INTERRUPT, "Where the guest is, by samples"), (IO, "Guest code that made them")):
            d.app.go(ALL, key)
            host.touch(4001, "rip", 0xFFFFFFFF81000010, SAMPLED if key == INTERRUPT else 0, *[2_000] * 40)
            await d.tick()
            await until_drawn(d)
            (row,) = d.table("code").rows
            assert row.cells[0] == "0xffffffff81000010 (kernel)"
            assert (row.cells[1:] == ["40", "100%"]) == (key == INTERRUPT)
            assert title in str(d.app.query_one("#code-pane").border_title)
            await d.press("escape")


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
            assert d.app.query_one("#polling").display == shown == ("Halt polling of each vCPU" in d.text())
        assert str(d.table("polling").rows[0].cells[-1]).startswith("cheap: 100% of 5 polls")


@SMALL_AND_WIDE
async def test_the_key_x_opens_the_slowest_and_escape_leaves_them(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size) as d:
        await d.press("x")
        assert d.app.viewpoint.slowest and host.wish is not None
        assert host.wish.only is None and host.wish.kinds == TOUCHED and host.wish.slow_ns
        assert "Slowest exits of the last interval" in d.text() and "slowest exits" in d.text()
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
        assert not d.app.viewpoint.slowest and host.wish is None and d.names()
        await d.press("x")
        assert len(d.table("slow-run").rows) == 2
        await d.press("x")
        assert not d.app.viewpoint.slowest and host.wish is None


async def test_x_on_a_page_leaves_the_page() -> None:
    host = looked_host()
    async with driving(host) as d:
        d.app.go(ALL, IO)
        await d.press("x")
        assert (
            d.app.viewpoint.slowest
            and d.app.viewpoint.reason is None
            and host.wish is not None
            and host.wish.only is None
        )
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


@pytest.mark.parametrize(
    ("always", "wish", "looked_at"), [(None, None, None), (7, None, 7), (None, 7, 7), (7, 7, 7), (0, 7, 0), (7, 8, 0)]
)
def test_the_scheduler_is_looked_at_all_the_time_too(
    always: int | None, wish: int | None, looked_at: int | None
) -> None:
    host = Host()
    feed = LiveFeed(host, look=DetailRequest(frozenset({"io"}), sched=always))
    feed.look(DetailRequest(frozenset({"msr"}), sched=wish))
    assert host.wish == DetailRequest(frozenset({"msr"}), sched=looked_at)
    feed.look(None)
    assert host.wish == DetailRequest(frozenset({"io"}), sched=always)


def test_of_all_vms_where_that_is_looked_at_all_the_time() -> None:
    host, web = Host(), frozenset({4000})
    LiveFeed(host, look=DetailRequest(frozenset({"io"}))).look(DetailRequest(frozenset({"msr"}), pids=web))
    assert host.wish and host.wish.pids == frozenset()
    LiveFeed(host, look=DetailRequest(sched=0)).look(DetailRequest(frozenset({"msr"}), pids=web))
    assert host.wish.pids == web


def test_the_kinds_that_are_looked_at_all_the_time_go_on_where_a_page_needs_none() -> None:
    host = Host()
    LiveFeed(host, look=DetailRequest(frozenset({"io"}), slow_ns=5)).look(DetailRequest(sched=7, numa=True))
    assert host.wish == DetailRequest(frozenset({"io"}), None, 5, 7, numa=True)


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
        assert "12 I/O ports events of keys for which there was no room" in d.text()


async def test_a_page_that_is_opened_while_the_display_is_held_gets_its_details() -> None:
    host = looked_host()
    async with driving(host) as d:
        await d.press("space")
        d.app.go(ALL, IO)
        for hits in (30, 60):  # and goes on, since nothing of it is held
            host.touch(4001, "io", 0x3F8, 0x101, *[40_000] * hits)
            await d.tick()
            await until_drawn(d)
            at = [heading.key for heading in d.table("touched").headings].index("rate")
            assert d.table("touched").rows[0].cells[at] == str(hits)


@SMALL_AND_WIDE
async def test_what_the_probes_add_is_on_the_first_line(size: tuple[int, int]) -> None:
    host = looked_host()
    async with driving(host, size=size) as d:
        await d.tick()
        assert "probes" not in d.text().splitlines()[0]
        await d.press("enter")
        for price in (Price(), Price(1000, 90, Taken(400_000), {"details": Taken(1_600_000)})):
            host.counters["price"] = price
            touch(host)
            await d.tick()
            line = d.text().splitlines()[0]
            assert f"probes {'–' if not price.exits else '≥1.60µs':>7}/exit" in line
            assert size[0] == 160 or line.rstrip().endswith("/exit")  # as wide, so that nothing jumps
        assert ("counting  ≥400ns/exit" in line) == (size[0] == 160)
        host.counters["price"] = None
        await d.press("escape")
        await d.tick()
        assert "probes" not in d.text().splitlines()[0]
