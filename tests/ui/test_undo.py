"""Escape undoes the last thing done; Enter on a VM leaves the keys where they are."""

from __future__ import annotations

from kvmtop.model.scope import ALL, Scope
from kvmtop.ui.viewpoint import Viewpoint

from ..support.dashboard import IO, driving


def test_the_last_thing_first() -> None:
    at = Viewpoint()
    at.go(Scope(1))
    at.remember()
    at.filters["reasons"] = "io"
    at.go(at.scope, IO)
    assert at.undo() and at.reason is None and at.filters["reasons"] == "io"
    assert at.undo() and at.filters["reasons"] == "" and at.scope == Scope(1)
    assert at.undo() and at.scope == ALL
    assert not at.undo()


def test_what_it_began_with_last_of_all() -> None:
    at = Viewpoint(filters={"reasons": "io", "vms": ""})
    at.go(Scope(1))
    assert at.undo() and at.scope == ALL and at.filters["reasons"] == "io"
    assert at.undo() and at.filters["reasons"] == ""
    assert not at.undo()


def test_what_changed_nothing_is_nothing_to_undo() -> None:
    at = Viewpoint()
    at.go(Scope(1))
    at.go(Scope(1))
    at.remember()
    assert at.undo() and at.scope == ALL and not at.undo()


def test_pages_close_down_to_the_overview_under_them() -> None:
    at = Viewpoint()
    at.go(Scope(1))
    at.go(at.scope, IO)
    at.go(Scope(1, 2), scheduler=True)
    at.close()
    assert not at.on_page and at.scope == Scope(1)


async def test_filter_then_page_then_scope() -> None:
    async with driving(size=(160, 48)) as d:
        at = d.app.viewpoint
        await d.press("2", "home", "enter")
        assert at.scope == Scope(4100) and d.app.focused is d.table("vms")  # the keys have stayed
        await d.press("1", "slash", "i", "o", "enter", "enter")
        assert at.reason == IO
        await d.press("escape")
        assert at.reason is None and d.names() == ["io"]
        await d.press("escape")
        assert "msr" in d.names() and at.scope == Scope(4100)
        await d.press("escape")
        assert at.scope == ALL
        await d.press("escape")
        assert at.scope == ALL and d.app.focused is d.table()


async def test_backspace_goes_up() -> None:
    async with driving(size=(160, 48)) as d:
        at = d.app.viewpoint
        await d.press("2", "end", "enter", "1", "home", "enter")
        assert at.reason is not None
        await d.press("backspace")
        assert at.reason is None and at.scope == Scope(4000, 4002)
        await d.press("backspace")
        assert at.scope == Scope(4000)
        await d.press("backspace")
        assert at.scope == ALL


async def test_this_vm_only_and_all_again() -> None:
    async with driving(size=(160, 48)) as d:
        await d.press("2", "end", "v")
        assert d.app.viewpoint.scope == Scope(4000) and d.app.focused is d.table("vms")
        await d.press("v")
        assert d.app.viewpoint.scope == ALL


async def test_a_marked_vm_is_compared_with_the_one_under_the_cursor() -> None:
    async with driving(size=(160, 48)) as d:
        await d.press("m")
        assert d.app.viewpoint.marked is None  # no VM is under the cursor of the reasons
        await d.press("2", "home", "m", "down", "down")
        await d.tick()
        assert d.app.viewpoint.marked == Scope(4100) and d.app.viewpoint.scope == ALL
        text = d.text()
        assert "◆ db01 beside web01" in text
        rows = {
            cell if isinstance(cell, str) else cell[0][0]: figures
            for cell, *figures in (row.cells for row in d.table("both-states").rows)
        }
        assert rows["exits/s"] == ["0", "0", "="] and rows["guest"][0]
        await d.press("up", "up", "m")
        assert d.app.viewpoint.marked is None
        await d.press("down", "down")
        assert "beside" not in d.text()
