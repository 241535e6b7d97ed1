"""The Scheduler page in the dashboard: one key from a slow VM to who has its CPU."""

from __future__ import annotations

import dataclasses

import pytest

from kvmtop.model.scope import ALL, Scope
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.sanitize import clean
from kvmtop.ui.keys import MEMORY, SCHEDULER
from kvmtop.widgets.help import Help
from kvmtop.widgets.scheduler_page import SchedulerPage

from ..support.culprits import DB, WEB, Culprits
from ..support.dashboard import Driver, driving
from ..support.fake import SECOND, Host
from ..support.hostile import NASTY

VCPU = Scope(DB, DB + 2)
SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)], ids=["80x24", "120x36", "160x48"])
CULPRIT = "520ms behind vCPU 0 of web01"


def words(d: Driver) -> str:
    """The screen as one line, without the breaks within sentences."""
    return " ".join(d.text().split())


async def opened(d: Driver, *keys: str) -> None:
    """The page, and its first figures."""
    await d.tick()
    await d.press(*(keys or ("S",)))
    await d.tick(2)
    await d.press()


@SIZES
async def test_from_a_slow_vm_to_the_culprit_by_one_key_and_back(size: tuple[int, int]) -> None:
    host = Culprits()
    async with driving(host, size) as d:
        await d.tick()
        assert "its host CPU runs something else" in words(d) or size[0] < 160
        assert "waits" in words(d) and ("[wait > 20%] S tells who" in words(d)) == (size[0] != 120)
        assert "S tells who" in words(d)
        await d.press("S")
        assert "all vCPUs together waited 760ms/s for a CPU" in words(d) and "S tells who" not in words(d)
        assert words(d).count("the probes are being attached") == 1
        assert d.table("vcpus").rows and d.table("others").rows  # of what needs no probe nobody waits for one
        await d.tick(2)
        assert CULPRIT in words(d) and "attached" not in d.text()
        assert d.names("culprits") == [
            "vCPU 0 of web01",
            "ksoftirqd/3",
            "tar (backup.service)",
            "sshd",
            "interrupt 24",
        ]
        await d.press("escape")
        assert not d.app.query_one(SchedulerPage).display and d.app.query_one("#body").display
        assert d.app.viewpoint.scope == ALL and host.wish is None


async def test_it_asks_for_the_scheduler_of_the_scope_while_it_is_open_and_for_nothing_else() -> None:
    host = Culprits()
    async with driving(host) as d:
        for keys, wish in (
            (("S",), DetailRequest(sched=0)),
            (("S",), None),
            (("2", "home", "S"), DetailRequest(sched=DB)),  # db02, which has the cursor
            (("escape",), None),
            (("down", "down", "S"), DetailRequest(sched=DB)),
            (("escape", "end", "enter", "S"), DetailRequest(sched=WEB)),  # the scope that is looked at
        ):
            await d.press(*keys)
            await d.tick()
            assert host.asked[-1] == wish
        assert d.app.viewpoint.scope == Scope(WEB, WEB + 2)


async def test_back_is_to_where_one_was() -> None:
    async with driving(Culprits()) as d:
        await opened(d, "2", "home", "S")
        assert d.app.viewpoint.scope == Scope(DB)
        await d.press("tab", "tab", "tab", "end", "enter")  # its vCPU 1
        await d.tick()
        assert d.app.viewpoint.scope == VCPU and "vCPU 1 of db02 waited 760ms/s" in words(d)
        assert d.table("vcpus").cursor == VCPU
        await d.press("escape")
        assert d.app.viewpoint.scope == Scope(DB) and "the vCPUs of db02 together waited" in words(d)
        await d.press("escape")
        assert d.app.viewpoint.scope == ALL and not d.app.viewpoint.on_page
        assert d.app.focused is d.table("vms") and d.table("vms").cursor == Scope(DB)
        await d.press("S", "tab", "tab", "tab", "end", "enter", "S")  # from anywhere on it
        assert d.app.viewpoint.scope == ALL and not d.app.viewpoint.on_page


async def test_from_other_pages_it_opens_too_and_they_from_it() -> None:
    host = Culprits()
    async with driving(host) as d:
        host.exits(DB + 2, 0x7B, 40_000)
        await d.tick()
        await d.press("home", "enter", "S")
        at = d.app.viewpoint
        assert at.scheduler and at.reason is None
        await d.press("x")
        assert at.slowest and not at.scheduler and not d.app.query_one(SchedulerPage).display
        await d.press("S")
        assert at.scheduler and not at.slowest
        await d.press("1")
        assert not at.on_page and d.app.focused is d.table("reasons")
        await d.press("2", "home", "enter", "S")
        await d.pilot.click("#trail", offset=(3, 0))
        await d.press()
        assert not at.on_page and at.scope == ALL


@pytest.mark.parametrize("size", [(80, 24), (160, 30)], ids=["narrow", "short"])
async def test_where_it_is_small_who_ran_instead_stays_above_one_pane_at_a_time(size: tuple[int, int]) -> None:
    async with driving(Culprits(), size) as d:
        await opened(d)
        for title in ("WOKEN BY", "BLOCKED ON", "ON CPU", "ROLE", "WOKEN BY"):
            assert CULPRIT in words(d) and "ksoftirqd/3" in d.text()
            shown = [text for text in ("WOKEN BY", "BLOCKED ON", "ON CPU", "ROLE") if text in d.text()]
            assert shown == [title]
            assert d.app.focused is d.table("culprits") or d.app.focused is d.table(d.app.query_one(SchedulerPage).pane)
            await d.press(*(["tab", "tab"] if d.app.focused is d.table("culprits") else ["tab"]))
            await d.tick()
            if title == "ROLE":
                assert d.app.focused is d.table("culprits")
                await d.press("tab")
        await d.press("shift+tab")
        assert d.app.focused is d.table("waking")


async def test_a_click_turns_to_a_pane_and_points_at_a_row() -> None:
    host = Culprits()
    async with driving(host, (80, 24)) as d:
        await opened(d)
        await d.pilot.click("#scheduler-panes", offset=(14, 0))
        await d.press()
        assert "a lock or event (futex)" in d.text() and d.app.focused is d.table("blocked")
        assert "futex_wait_queue < futex_wait < do_futex" in d.text()
        await d.pilot.click("#culprits", offset=(3, 2))
        await d.press()
        assert d.app.focused is d.table("culprits") and d.table("culprits").position == 1


@pytest.mark.parametrize("size", [(120, 36), (160, 48)], ids=["120x36", "160x48"])
async def test_where_there_is_room_all_panes_are_seen_at_once(size: tuple[int, int]) -> None:
    async with driving(Culprits(), size) as d:
        await opened(d)
        for text in (
            "Who ran instead",
            "WOKEN BY",
            "BLOCKED ON",
            "ON CPU",
            "Other threads",
            "IO iothread1",
            "p99 1.18ms",
        ):
            assert text in d.text()
        assert not d.app.query_one("#scheduler-panes").display
        for pane in ("culprits", "waking", "blocked", "vcpus"):
            table = d.table(pane)
            assert sum(heading.width + 1 for heading in table.headings) <= table.size.width


async def test_the_line_of_a_row_follows_the_cursor() -> None:
    async with driving(Culprits()) as d:
        await opened(d, "2", "home", "S")
        await d.press("tab", "tab", "tab")
        assert "on CPU 1 (node 0)" in words(d) and "whose sibling CPU 3" not in words(d)
        await d.press("down")
        assert "on CPU 2 (node 0), whose sibling CPU 3 runs vCPU 0 of web01" in words(d)


async def test_the_cursor_stays_on_its_culprit_when_the_order_changes() -> None:
    host = Culprits()
    async with driving(host) as d:
        await opened(d)
        await d.press("down", "down")
        tar = d.table("culprits").cursor
        assert host.scheduler
        host.scheduler.charge(DB << 32 | DB + 2, 1, 1, 812 << 32 | 812, ns=700_000_000, comm=b"tar")
        await d.tick()
        assert d.names("culprits")[0].startswith("tar") and d.table("culprits").cursor == tar
        assert d.table("culprits").position == 0


async def test_m_asks_once_on_which_nodes_memory_is() -> None:
    host = Culprits()
    async with driving(host, (160, 48)) as d:
        await d.press("m")
        assert host.wish is None  # only on the page
        await opened(d, "2", "home", "S")
        assert "m: the NUMA nodes of its memory" in words(d)
        await d.press("m")
        assert host.wish == DetailRequest(sched=DB, numa=True) and d.app.focused is d.table("vcpus")
        assert "is being read" in words(d)
        await d.tick()
        assert host.wish == DetailRequest(sched=DB, numa=True)  # it has not come yet
        host.memory = {DB: {0: 3 << 30, 1: 800 << 20}}
        await d.tick()
        assert host.wish == DetailRequest(sched=DB)
        await d.tick()
        assert "its memory: 3.00GiB on node 0, 800MiB on node 1" in words(d)
        await d.press("escape", "S")
        assert "its memory: 3.00GiB" not in words(d)


async def test_memory_that_comes_vm_by_vm_is_asked_for_until_all_is_known_or_too_long() -> None:
    host = Culprits()
    async with driving(host, (160, 48)) as d:
        await opened(d, "S", "m", "home")
        host.memory = {WEB: {0: 1 << 30}}
        await d.tick()
        assert host.wish and host.wish.numa and "is being read" in words(d)  # of db02's vCPU, which waits most
        host.memory = {DB: {0: 3 << 30}}
        await d.tick(2)
        assert host.wish and not host.wish.numa and "its memory: 3.00GiB on node 0" in words(d)
        await d.press("end")
        assert "its memory: 1.00GiB on node 0" in words(d)
        host.memory = {}
        await d.press("m")
        assert host.wish and host.wish.numa
        host.now += 60 * SECOND
        await d.tick()
        assert not host.wish.numa and "its memory is, is not known" in words(d)


async def test_what_comes_while_the_display_is_held_is_shown() -> None:
    async with driving(Culprits()) as d:
        await d.tick()
        await d.press("space", "S")
        await d.tick(2)
        assert CULPRIT in words(d)


async def test_its_figures_are_those_of_the_last_interval_even_where_totals_are_shown() -> None:
    async with driving(Culprits()) as d:
        await opened(d, "t", "S")
        assert CULPRIT in words(d) and "since start" not in d.text()


async def test_another_scope_shows_nothing_of_the_one_before() -> None:
    async with driving(Culprits()) as d:
        await opened(d, "2", "home", "S")
        await d.press("escape", "end")
        d.app.action_scheduler()
        assert not d.table("culprits").rows  # not even until the next frame
        await d.press()
        assert not d.table("culprits").rows and "vCPU 1 of web01 did not wait for a CPU" in words(d)
        await d.tick(2)
        assert not d.table("culprits").rows and "no vCPU waited for a CPU" in d.text()


async def test_its_keys_are_in_the_help() -> None:
    async with driving(Culprits()) as d:
        await d.press("question_mark")
        assert isinstance(d.app.screen, Help)
        listed = [one for keys in d.app.screen._keys.values() for one in keys]
        assert ("m", MEMORY.tooltip) in listed and ("S", SCHEDULER.tooltip) in listed
        assert MEMORY.tooltip and "Scheduler page" in MEMORY.tooltip


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"])
async def test_hostile_names(name: str, size: tuple[int, int]) -> None:
    host = Culprits()
    host.backup = clean(name)
    host.vms = {pid: dataclasses.replace(vm, name=clean(name)) for pid, vm in host.vms.items()}
    async with driving(host, size) as d:
        await opened(d)
        for _ in range(5 if size[1] == 24 else 1):
            text = d.text()
            assert "\x1b" not in text and "\u202e" not in text and len(text.split("\n")) == size[1]
            for line in d.app.screen._compositor.render_strips():
                assert sum(segment.cell_length for segment in line) == size[0]
            await d.press("tab")
            await d.tick()
        assert d.table("culprits").size.height > 2


@pytest.mark.parametrize("size", [(40, 8), (60, 15), (200, 60)])
async def test_any_size(size: tuple[int, int]) -> None:
    async with driving(Culprits(), size) as d:
        await opened(d)
        for _ in range(5):
            await d.press("tab", "down", "up")
            await d.tick()
            assert len(d.text().split("\n")) == size[1]
        await d.pilot.resize_terminal(120, 40)
        await d.tick()
        await d.press()
        assert CULPRIT in words(d)


async def test_a_host_without_vms() -> None:
    async with driving(Host()) as d:
        await d.press("S")
        await d.tick(2)
        assert "no vCPU waited for a CPU" in words(d) and not d.table("vcpus").rows


async def test_a_kernel_that_cannot_tell_who_has_the_cpu() -> None:
    """It is not waited for."""
    host = Host()
    host.add(100, "web")
    host.trouble = "who has the CPU cannot be told on this kernel"
    async with driving(host) as d:
        await d.press("S")
        await d.tick(2)
        assert words(d).count(host.trouble) == 2 and "attached" not in d.text() and "not known yet" not in d.text()
