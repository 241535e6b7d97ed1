"""What stands out, from its line to what it is about, and back."""

from __future__ import annotations

import pytest

from kvmtop.model.scope import ALL, Scope
from kvmtop.widgets.links import Links

from ..support.dashboard import IO, Driver, driving, small_host, work
from ..support.fake import Host


def troubled() -> Host:
    """db01 is going to be throttled, and web01 busy in the VMM."""
    return small_host()


async def seconds(d: Driver, number: int) -> None:
    for _ in range(number):
        for tid in (4001, 4002, 4101):
            work(d.host, tid)
        d.host.exits(4001, IO[1], 500_000_000, user=490_000_000)
        d.host.vcpus[4001].states["guest"] -= 500_000_000
        d.host.vcpus[4101].states["guest"] -= 300_000_000
        d.host.vcpus[4101].states["throttled"] += 300_000_000
        await d.tick()


def line(d: Driver) -> str:
    return next((one for one in d.text().split("\n") if "▲ " in one), "").strip()


async def test_it_says_what_by_which_rule_and_since_when() -> None:
    async with driving(troubled(), (200, 50)) as d:
        assert not d.app.query_one(Links).display
        await seconds(d, 4)
        assert line(d).startswith(
            "▲ vCPU 0 of db01 is throttled 30.0% of its time: the CPU quota of its cgroup is used up, for 4 s"
            "  [throttled > 20% of a vCPU's time]"
        )
        await d.tick()  # a quiet second
        await d.press()
        assert not d.app.query_one(Links).display


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_f_walks_and_enter_goes_there(size: tuple[int, int]) -> None:
    async with driving(troubled(), size) as d:
        await seconds(d, 2)
        await d.press("f")
        assert "db01" in line(d)
        await d.press("f")
        assert "web01" in line(d)
        await d.press("enter")
        at = d.app.viewpoint
        assert at.scope == Scope(4000, 4001) and d.app.focused is d.table() and d.table().cursor == IO
        marked = d.table().marked
        assert marked and marked.row == IO and {"time", "user"} <= set(marked.columns) and marked.state == "user"
        await seconds(d, 1)
        assert d.table().marked and "web01" in line(d)
        await d.press("escape")
        assert at.scope == ALL and d.table().marked is None
        await d.press("f", "enter")
        assert at.scope == Scope(4100, 4101) and d.app.focused is d.table("vms")
        assert d.table("vms").cursor == at.scope and d.table("vms").marked and not d.table().marked


async def test_the_walk_goes_round_and_escape_leaves_it() -> None:
    async with driving(troubled(), (160, 48)) as d:
        await seconds(d, 2)
        first = line(d)
        await d.press("f", "f", "f")
        assert line(d)[:20] == first[:20] and d.app.focused is d.app.query_one(Links)
        await d.press("escape")
        assert d.table().has_focus and d.app.viewpoint.scope == ALL


async def test_f_tells_all_of_it_and_what_to_try_below_its_line() -> None:
    async with driving(troubled(), (84, 36)) as d:
        await seconds(d, 2)
        links = d.app.query_one(Links)
        assert links.size.height == 1 and "used up" not in line(d)
        await d.press("f")
        assert links.size.height == 5, d.text()
        told = d.text().split("\n")
        at = next(n for n, one in enumerate(told) if "▲ vCPU 0 of db01" in one)
        assert "…" not in " ".join(told[at : at + 2]) and told[at + 1].strip() == "used up"
        assert "1/2 ↵ goes there" in told[at + 2] and told[at + 3].strip().startswith("try on the host: ")
        await d.pilot.click(Links, offset=(4, 3))
        await d.press()
        assert d.app.viewpoint.scope == Scope(4100, 4101)
        assert links.size.height == 1


async def test_a_click_on_one_goes_there() -> None:
    async with driving(troubled(), (200, 50)) as d:
        await seconds(d, 2)
        x = line(d).index("web01") + 1
        await d.pilot.click(Links, offset=(x, 0))
        await d.press()
        assert d.app.viewpoint.scope == Scope(4000, 4001)


async def test_in_a_scope_its_own_come_first_and_others_are_elsewhere() -> None:
    async with driving(troubled(), (160, 48)) as d:
        await seconds(d, 2)
        d.app.go(Scope(4000))
        await d.press()
        assert line(d).startswith("▲ vCPU 0 of web01 spends")
        assert [one.scope.pid for one in d.app.presenter.found] == [4000, 4100]
        d.app.go(Scope(4000, 4002))
        await d.press()
        assert "nothing here; elsewhere" in d.text()


async def test_what_has_gone_leaves_the_keys_to_the_table() -> None:
    async with driving(troubled(), (160, 48)) as d:
        await d.press("f")
        assert d.app.focused is d.table()  # there was nothing
        await seconds(d, 2)
        await d.press("f")
        await d.tick()
        await d.press()
        assert d.app.focused is d.table()


async def test_names_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    host = troubled()
    async with driving(host, (200, 50)) as d:
        host.vms[4100] = host.vms[4100].__class__(4100, "[bold red]x[/]")
        await seconds(d, 2)
        assert "vCPU 0 of [bold red]x[/] is throttled" in line(d)
