"""The figures of the dashboard, over hand-built Snapshots."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest

from kvmtop.model.scope import ALL
from kvmtop.model.vocabulary import Names

from ..support.dashboard import IO, driving, work
from ..support.fake import SECOND, Host


async def test_shows_what_the_interval_brought() -> None:
    async with driving() as d:
        assert d.names() == ["io", "msr", "hlt idle"]
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


async def test_pause_holds_the_display_and_counts_on() -> None:
    async with driving() as d:
        await d.press("space")
        work(d.host, 4001)
        await d.tick()
        assert d.cell("msr", "rate") == "30" and "PAUSED" in d.text()
        await d.press("space")
        assert d.cell("msr", "rate") == "10" and d.cell("msr", "total") == "40"


async def test_what_is_held_stays_as_it_is_in_every_view() -> None:
    async with driving(size=(160, 50)) as d:
        await d.press("t", "space")
        held = d.text()
        for _ in range(3):
            work(d.host, 4001)
            await d.tick()
        assert d.text() == held
        for page in ("enter", "x"):
            await d.press("space", "1", page)
            d.host.linger(4001, IO[1], 7_000_000)
            await d.tick()
            await d.press("space")
            held = d.text()
            assert "PAUSED" in held and "7.00ms" in held
            d.host.linger(4001, IO[1], 9_000_000)
            await d.tick()
            assert d.text() == held


async def test_a_reset_while_the_display_is_held_counts_from_what_it_shows() -> None:
    async with driving() as d:
        await d.press("space")
        work(d.host, 4001)
        await d.tick()
        await d.press("z")
        assert {d.cell(name, "total") for name in d.names()} == {"0"}
        await d.press("t")
        assert {d.cell(name, "total") for name in d.names()} == {"0"} and d.cell("msr", "rate") == "0"
        await d.press("t", "space")
        assert d.cell("msr", "total") == "10"  # since what was shown when the key came
        work(d.host, 4001)
        await d.tick()
        assert d.cell("msr", "total") == "20"


async def test_totals_reset_and_idle() -> None:
    async with driving() as d:
        work(d.host, 4001)
        await d.tick()
        await d.press("t")
        assert d.cell("msr", "rate") == "20" and "since start" in d.text()  # 40 in two seconds
        await d.press("t")
        assert d.cell("hlt", "time_share") == "–" and d.cell("io", "time_share") == "88.9%"
        await d.press("i")
        assert d.cell("hlt", "time_share") == "100%" and d.names()[0] == "hlt"
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
        session = d.shown.session
        add_up = session.total
        monkeypatch.setattr(session, "total", lambda: adding.wait(10) and add_up())
        await d.press("t")
        assert "adding up …" in d.text() and d.cell("msr", "rate") == "10"
        await d.press("t")
        assert "adding up …" not in d.text()  # rather not
        await d.press("t")
        adding.set()
        while not d.app.viewpoint.since_start:
            await asyncio.sleep(0.01)
        await d.press("E")
        assert "since start" in d.text() and "adding" not in d.text() and d.cell("msr", "rate") == "20"
        await d.press("t")
        assert "since start" not in d.text() and d.cell("msr", "rate") == "10"


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


async def test_ended_vms_stay_until_cleared_and_new_ones_appear() -> None:
    async with driving() as d:
        d.host.end(4100)
        d.host.add(4200, "new01")
        await d.tick()
        assert d.names("vms") == ["new01", "vCPU 0", "web01", "vCPU 0", "vCPU 1", "db01", "vCPU 0"]
        assert "ended" in d.text()
        await d.press("2", "end", "enter")
        assert d.app.viewpoint.scope.pid == 4100 and "db01 (ended)" in d.text()
        await d.press("c")
        assert d.names("vms")[-1] == "vCPU 1" and d.app.viewpoint.scope == ALL


async def test_nothing_to_show_says_why() -> None:
    async with driving(Host()) as d:
        assert "no exit yet" in d.text()
        await d.tick(4)
        assert "no VM runs here" in d.text()
        d.host.counters["userspace"] = 51
        await d.tick()
        assert "this kernel's KVM emits no kvm_exit" in d.table().empty and "guests run here (51 exits" in d.text()


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
    async with driving(size=(160, 50)) as d:
        d.host.leave(4101, IO[1], "user")
        await d.tick(2)
        assert "2.00s" in d.text() and "STUCK" not in d.text()
        await d.tick(2)
        assert "1 stuck" in d.text() and "STUCK" in d.text() and "4.00s" in d.text()
        assert d.cell("io", "time") == "1.00s"  # each second shows its own second


async def test_where_an_exits_time_goes() -> None:
    async with driving() as d:
        d.host.leave(4101, IO[1])
        d.host.now += SECOND // 4
        d.host.turn(4101, "wait")
        d.host.now -= SECOND // 4  # tick() adds a second
        await d.tick()
        assert d.cell("io", "wait") == "75.0%"
        await d.press("home", "enter")
        assert "kernel 25.0%" in d.text() and "wait 75.0%" in d.text()


async def test_lost_exits_are_said() -> None:
    async with driving() as d:
        d.host.counters["lost"] = 7
        await d.tick()
        assert "7 exits lost" in d.text() and "7 LOST" in d.text()
