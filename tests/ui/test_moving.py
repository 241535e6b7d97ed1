"""Sorting, filtering, and moving about in the dashboard, by keys and mouse."""

from __future__ import annotations

import asyncio
import re

import pytest
from textual import events
from textual.widgets import Input

from kvmtop.model.scope import ALL, Scope
from kvmtop.model.vocabulary import SVM
from kvmtop.widgets.help import Help
from kvmtop.widgets.reason_page import ReasonPage
from kvmtop.widgets.theme import palette

from ..support.dashboard import HLT, IO, MSR, driving
from ..support.fake import SECOND, Host


@pytest.mark.parametrize(
    ("key", "column", "first"),
    [
        ("E", "rate", "msr"),
        ("T", "time", "io"),
        ("A", "avg", "io"),
        ("P", "p99", "io"),
        ("M", "max", "io"),
        ("N", "reason", "io"),
    ],
)
async def test_sort_keys(key: str, column: str, first: str) -> None:
    async with driving() as d:
        await d.press("less_than_sign", key)
        assert (d.app.viewpoint.sorting, d.names()[0]) == (column, first)
        *busy, idle = d.names()
        await d.press("r")
        assert d.names() == [*busy[::-1], idle] and idle == "hlt idle"


async def test_stepping_through_the_columns_reaches_each() -> None:
    async with driving() as d:
        keys = [heading.key for heading in d.table().headings]
        seen = []
        for _ in keys:
            await d.press("greater_than_sign")
            seen.append(d.app.viewpoint.sorting)
        assert sorted(seen) == sorted(keys)
        await d.press("less_than_sign")
        assert d.app.viewpoint.sorting == seen[-2]


async def test_a_click_on_a_heading_sorts_and_again_reverses() -> None:
    async with driving() as d:
        x = sum(h.width + 1 for h in d.table().headings[:1]) + 2
        await d.pilot.click("#reasons", offset=(x, 0))
        assert (d.app.viewpoint.sorting, d.app.viewpoint.descending) == ("rate", True)
        await d.pilot.click("#reasons", offset=(x, 0))
        assert (d.app.viewpoint.sorting, d.app.viewpoint.descending) == ("rate", False)


async def test_drill_down_and_back_by_keys() -> None:
    async with driving() as d:
        await d.press("2", "end", "enter")  # web01's vCPU 1
        assert d.app.viewpoint.scope == Scope(4000, 4002)
        assert d.cell("msr", "rate") == "10"
        assert "› web01 › vCPU 1" in d.text() and d.app.focused is d.table("vms")
        await d.press("1", "end", "enter")
        assert d.app.viewpoint.reason == HLT and d.app.query_one(ReasonPage).display
        assert "› web01 › vCPU 1 › hlt" in d.text()
        await d.press("escape")
        assert d.app.viewpoint.reason is None and d.names() == ["io", "msr", "hlt idle"]
        await d.press("backspace")
        assert d.app.viewpoint.scope == Scope(4000) and d.cell("msr", "rate") == "20"
        await d.press("escape", "escape")
        assert d.app.viewpoint.scope == ALL and d.cell("msr", "rate") == "30"


async def test_drill_down_and_back_by_mouse() -> None:
    async with driving() as d:
        await d.pilot.click("#vms", offset=(3, 3))
        assert d.app.viewpoint.scope == Scope(4000)
        await d.pilot.pause()
        await d.pilot.click("#reasons", offset=(3, 1))
        assert d.app.viewpoint.reason == IO
        await d.pilot.pause()
        assert d.app.query_one(ReasonPage).display
        await d.pilot.click("#trail", offset=(3, 0))
        assert d.app.viewpoint.scope == ALL and d.app.viewpoint.reason is None


async def test_the_page_leads_to_the_vcpus_that_have_the_reason() -> None:
    async with driving() as d:
        d.host.exits(4101, 0x72, 3_000)
        await d.tick()
        await d.press("N", "home", "enter")
        assert d.app.viewpoint.reason == (SVM, 0x72)
        who = d.table("who")
        assert d.names("who") == ["db01 vCPU 0"]
        who.focus()
        await d.press("enter")
        assert (
            d.app.viewpoint.scope.pid == 4100
            and d.app.viewpoint.scope.thread is not None
            and d.app.viewpoint.reason is None
        )


async def test_cursor_stays_on_its_row_when_the_order_changes() -> None:
    async with driving() as d:
        await d.press("T", "home", "down")
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
        await d.press("slash", "m")  # and a click into a table, which has the keys then
        d.table().focus()
        await d.press("escape")
        assert len(d.names()) == 3 and not d.app.query_one("#filter", Input).has_class("-on")
        await d.press("2", "slash", *"db")
        assert d.names("vms") == ["db01", "vCPU 0"] and len(d.names()) == 3


async def test_a_filter_stays_with_the_table_it_was_asked_for() -> None:
    async with driving() as d:
        await d.press("slash", "m", "tab")
        d.app.set_focus(d.app.query_one("#filter", Input))  # a click into it, which selects what is there
        await d.press(*"ms")
        assert d.app.viewpoint.filters == {"reasons": "ms", "vms": ""}
        await d.press("enter", "2", "slash", *"web")
        assert d.app.viewpoint.filters == {"reasons": "ms", "vms": "web"}


async def test_escape_leaves_the_page_that_was_opened_while_a_filter_was_typed() -> None:
    async with driving() as d:
        await d.press("slash", "m")
        await d.pilot.click("#reasons", offset=(3, 1))
        await d.press("escape")
        assert not d.app.query_one(ReasonPage).display and d.names() == ["msr"]
        await d.press("escape")
        assert len(d.names()) == 3


async def test_what_a_filter_leaves_empty_says_so_below_too() -> None:
    async with driving() as d:
        await d.press("2", "slash", *"none", "enter")
        assert "no VM matches 'none'" in d.text() and "all of it ─╮" not in d.text()
        await d.press("escape")
        assert "all of it ─╮" in d.text()


async def test_a_filter_typed_faster_than_the_screen_is_drawn() -> None:
    async with driving() as d:
        for key in ("slash", *"m/r"):  # as a slow terminal hands them over: all at once
            d.app.post_message(events.Key(key, "/" if key == "slash" else key))
        await d.press("enter")
        assert d.app.viewpoint.filters["reasons"] == "m/r"
        await d.press("question_mark", "slash", "escape")  # nothing opens behind the help
        assert not d.app.query_one("#filter", Input).has_class("-on")


@pytest.mark.parametrize(("ends", "text"), [("enter", "m"), ("escape", "")])
async def test_what_is_typed_ahead_of_a_filters_end_is_not_in_it(ends: str, text: str) -> None:
    async with driving() as d:
        for key in ("slash", "m", ends, "2", "down"):
            d.app.post_message(events.Key(key, {"slash": "/"}.get(key, key if len(key) == 1 else None)))
        await d.until(lambda: d.table("vms").cursor is not None and d.app.focused is d.table("vms"))
        await d.until(lambda: d.table("vms").position == 1)
        assert d.app.viewpoint.filters == {"reasons": text, "vms": ""}


async def test_a_pane_and_its_filter_typed_ahead_of_a_slow_screen() -> None:
    async with driving() as d:
        for key in ("2", "slash", "d", "b", "enter"):
            d.app.post_message(events.Key(key, {"slash": "/"}.get(key, key if len(key) == 1 else None)))
        await d.until(lambda: bool(d.app.viewpoint.filters["vms"]))
        await d.until(lambda: d.app.focused is d.table("vms"))
        assert d.app.viewpoint.filters == {"reasons": "", "vms": "db"}


async def test_one_pane_at_a_time_where_it_is_narrow() -> None:
    async with driving(size=(80, 24)) as d:
        assert d.table().size.width and not d.table("vms").size.width
        await d.press("tab")
        await d.until(lambda: d.names("vms")[:1] == ["db01"])  # drawn a frame after it is shown
        assert d.table("vms").size.width and not d.table().size.width
        await d.press("down", "down", "enter", "1")
        assert d.app.viewpoint.scope == Scope(4000)
        await d.until(lambda: bool(d.table().size.width))
        await d.press("3")
        await d.until(lambda: bool(d.app.query_one("#lower").size.width) and "What it means" in d.text())


async def test_a_click_on_a_panes_title_shows_it() -> None:
    async with driving(size=(80, 24)) as d:
        for seen, x, pane in (("#reasons-pane", 16, "vms"), ("#vms-pane", 25, "detail"), ("#lower", 4, "reasons")):
            await d.pilot.click(seen, offset=(x, 0))
            await d.press()
            assert d.app.query_one("#body").has_class(f"-{pane}"), pane
        await d.pilot.click("#reasons-pane", offset=(35, 0))
        await d.press()
        assert d.app.viewpoint.slowest


async def test_interval_keys() -> None:
    async with driving() as d:
        d.feed.seconds = 1.0
        await d.press("minus")
        assert d.feed.seconds == 0.5
        await d.press("plus", "plus")
        assert d.feed.seconds == 2.0 and "every 2s" in d.text()


async def test_help_lists_every_key_and_column() -> None:
    async with driving(size=(120, 120)) as d:
        await d.press("question_mark")
        assert isinstance(d.app.screen, Help)
        text = re.sub(r"\s+", " ", d.text())
        assert "⏎" not in text and "↵ All of what the cursor is on" in text
        for words in ("End, and print the summary", "Reverse the order", "EXITS/S", "within 12.5 %", "First row"):
            assert words in text
        await d.press("escape")
        assert not isinstance(d.app.screen, Help)


async def test_what_is_on_top_may_be_left_twice_at_once() -> None:
    async with driving() as d:
        for key in ("ctrl+p", "question_mark", "o"):
            await d.press(key)
            on_top = d.app.screen
            on_top.dismiss()
            on_top.dismiss()  # as two quick keys do
            await d.press()
            assert d.app.is_running and len(d.app.screen_stack) == 1


async def test_q_closes_the_help_and_ctrl_c_ends_from_there() -> None:
    async with driving() as d:
        await d.press("question_mark", "q")
        assert not isinstance(d.app.screen, Help) and d.app.is_running
        await d.press("question_mark", "ctrl+c")
        await d.until(lambda: not d.app.is_running)


async def test_the_foot_names_no_key_that_does_nothing() -> None:
    def foot() -> str:
        return d.text().rstrip().split("\n")[-1]

    async with driving(size=(200, 60)) as d:
        assert all(key in foot() for key in ("tab next", "/ filter", "< sort", "o columns", "m mark"))
        await d.press("o")
        assert foot().split() == ["q", "quit"]
        await d.press("escape", "enter")
        assert not any(key in foot() for key in ("tab next", "/ filter", "< sort", "o columns", "m mark"))
        await d.press("escape", "S")
        assert "tab next" in foot() and "/ filter" not in foot()


@pytest.mark.parametrize("words", ["o columns", "? all keys", "↵ all of it", "tab next pane"])
async def test_a_click_on_a_key_at_the_foot_presses_it(words: str) -> None:
    async with driving(size=(160, 48)) as d:
        lines = d.text().split("\n")
        await d.pilot.click(offset=(lines[-1].index(words), len(lines) - 1))
        await d.until(lambda: len(d.app.screen_stack) > 1 or d.app.viewpoint.on_page or d.app.focused is d.table("vms"))


async def test_palette_offers_every_command() -> None:
    async with driving() as d:
        titles = {command.title for command in d.app.get_system_commands(d.app.screen)}
        assert {"Sort by P99", "Reverse the order", "Hold the display still; counting goes on"} <= titles


async def test_the_next_reason_and_the_one_before_on_a_page() -> None:
    async with driving() as d:
        order = [row.key for row in d.table().rows]
        await d.press("enter", "n")
        assert d.app.viewpoint.reason == order[1] and d.app.query_one(ReasonPage).display
        await d.press("n", "n")
        assert d.app.viewpoint.reason == order[-1]  # there is no other
        await d.press("N")
        assert d.app.viewpoint.reason == order[-2] and d.app.viewpoint.sorting == "time"
        await d.press("escape")
        assert d.app.viewpoint.reason is None and d.table().cursor == order[-2]
        await d.press("n")
        assert not d.app.viewpoint.on_page
        await d.press("N")
        assert d.app.viewpoint.sorting == "reason"


async def test_what_the_cursor_is_on_in_full_and_back() -> None:
    async with driving() as d:
        low = d.app.query_one("#lower").size.height
        await d.press("down", "d")
        assert d.app.query_one("#lower").size.height > 2 * low and not d.table().size.width
        assert d.app.focused is d.app.query_one("#lower")
        at = d.table().cursor
        await d.press("up")
        assert d.table().cursor != at and d.app.query_one("#lower").size.height > 2 * low
        await d.press("escape")
        assert d.app.focused is d.table() and d.app.query_one("#lower").size.height == low
        await d.press("2", "3", "3")
        assert d.app.focused is d.table("vms")
        await d.press("3", "tab")
        assert d.app.focused is d.table("vms")


async def test_the_keys_lead_somewhere_at_any_size() -> None:
    async with driving(size=(80, 24)) as d:
        await d.press("3")
        for size in ((160, 48), (120, 30), (80, 24), (160, 48), (110, 34)):
            await d.pilot.resize_terminal(*size)
            await d.pilot.pause()
            assert d.app.focused and d.app.focused.size.width and d.app.focused.has_focus
            at = d.table().cursor
            await d.press("down")
            if at == d.table().cursor:
                await d.press("up")
            assert d.table().cursor != at


async def test_another_theme_is_seen_on_all_lines_at_once() -> None:
    async with driving() as d:

        def looks() -> set[str]:
            strips = d.app.screen._compositor.render_strips()
            found = {segment.style.color.name for segment in strips[-1] if segment.style and segment.style.color}
            assert found
            return found

        dark = looks()
        d.app.theme = "kvmtop-light"
        await d.until(lambda: not looks() & dark)


async def test_enter_on_what_is_looked_at_already_gives_all_of_it() -> None:
    async with driving() as d:
        await d.press("2", "enter")
        assert d.app.viewpoint.scope == Scope(4100) and d.table().size.width
        await d.press("enter")
        assert not d.table().size.width and d.app.query_one("#lower").size.height > 20
        await d.press("enter", "escape")
        assert d.app.viewpoint.scope == Scope(4100) and d.app.focused is d.table("vms")


async def test_the_row_of_the_detail_tab_can_be_marked() -> None:
    async with driving(size=(80, 24)) as d:
        await d.press("2", "down", "3", "m")
        assert d.app.viewpoint.marked == Scope(4100, 4101)


async def test_the_palette_has_what_kvmtop_has_and_the_themes() -> None:
    async with driving() as d:
        titles = [command.title for command in d.app.get_system_commands(d.app.screen)]
        assert "Theme" in titles and "Maximize" not in titles and "Sort by MAX" in titles


async def test_a_key_before_the_filter_is_not_one_in_it() -> None:
    async with driving() as d:
        d.table().call_later(asyncio.sleep, 0.2)  # the table is slow to handle Home
        for key in ("end", "home", "slash", "h", "l"):
            d.app.post_message(events.Key(key, {"slash": "/"}.get(key, key if len(key) == 1 else None)))
        await d.until(lambda: d.app.query_one(Input).value == "hl")
        await asyncio.sleep(0.3)
        await d.press("t")
        assert d.app.query_one(Input).value == "hlt"


async def test_a_hint_in_a_border_can_be_read() -> None:
    async with driving(size=(160, 48)) as d:
        await d.press("x")
        hint = next(
            segment
            for strip in d.app.screen._compositor.render_strips()
            for segment in strip
            if "idle ones left out" in segment.text
        )
        assert hint.style and hint.style.color and hint.style.color.name == palette(d.app).label
