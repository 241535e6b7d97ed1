"""The pane that follows the cursor, and what stands for it where there is no room."""

from __future__ import annotations

import re

from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM
from kvmtop.widgets.lower_pane import LowerPane
from kvmtop.widgets.table import Table

from ..support.culprits import Culprits
from ..support.dashboard import IO, MSR, driving
from ..support.fake import SECOND, Host


async def test_it_follows_the_cursor_in_both_tables() -> None:
    async with driving(size=(160, 48)) as d:
        assert "╭─ io · Port I/O" in d.text() and "Durations of the last interval" in d.text()
        assert "db01 vCPU 0" in d.text()  # has it
        assert "What they touch: ↵ tells, in half a second" in d.text()
        await d.press("down")
        assert "╭─ msr · " in d.text() and "╭─ io · " not in d.text()
        await d.press("tab", "home", "down")
        assert "╭─ db01 · vCPU 0 · thread 4101" in d.text() and "Where its time goes" in d.text()
        await d.press("tab")
        assert "╭─ msr · " in d.text()


async def test_it_is_drawn_in_the_frame_of_the_cursor_itself() -> None:
    async with driving(size=(160, 48)) as d:
        lower = d.app.query_one(LowerPane)
        for pane in ("1", "2"):
            await d.press(pane, "home")
            before = str(lower.border_title)
            assert isinstance(d.app.focused, Table)
            d.app.focused.action_move(1)  # and no message is handled before this is looked at:
            assert str(lower.border_title) != before


async def test_a_wait_is_explained_without_a_probe_and_named_by_one() -> None:
    host = Culprits()
    async with driving(host, size=(160, 48)) as d:
        await d.tick(2)
        await d.press("2", "home", "down", "down")
        assert "Waited 76.0%" in d.text() and "Who ran instead? S tells" in d.text() and host.wish is None
        assert "IO iothread1" in d.text()
        await d.press("S")
        await d.tick(2)
        await d.press("escape")
        assert "vCPU 0 of web01" in d.text() and "Who ran instead?" not in d.text()


async def test_lines_stand_for_it_on_a_small_screen() -> None:
    async with driving(size=(80, 24)) as d:
        assert "io · Port I/O" in d.text() and re.search(r"who \w+ vCPU \d 33%", d.text())
        await d.press("3")
        assert "What it means" in d.text() and "EXITS/S" not in d.text()
        await d.press("down")
        assert "What it means" in d.text() and "Timers armed" in d.text()
        await d.press("up", "enter")  # as its words say
        assert d.app.viewpoint.reason == IO
        await d.press("escape", "down", "enter")
        assert d.app.viewpoint.reason == MSR
        await d.press("escape")
        await d.pilot.resize_terminal(80, 20)
        await d.press("1")
        await d.tick()
        assert "33%" not in d.text() and "EXITS/S" in d.text()


async def test_what_a_state_means_is_told_whole_where_there_are_lines_for_it() -> None:
    async with driving(size=(160, 48)) as d:
        for _ in range(2):
            d.host.exits(4001, MSR[1], 300_000_000)
            await d.tick()
        await d.press("2", "G", "k")  # web01's vCPU 0
        assert "In KVM" in d.text() and "on a CPU, in KVM or the host's kernel" in re.sub(r"[│ ]+", " ", d.text())


async def test_its_parts_are_as_wide_as_before_once_one_was_hidden() -> None:
    async with driving(size=(120, 36)) as d:

        def widths() -> list[int]:
            return [part.outer_size.width for part in d.app.query("#of-reason .part")]

        before = widths()
        await d.pilot.resize_terminal(80, 24)
        await d.press("3", "1")
        await d.pilot.resize_terminal(120, 36)
        await d.until(lambda: widths() == before)
        assert len(before) == 2 and before[0] < before[1]


async def test_what_nesting_takes_is_told_of_a_vcpu_and_of_its_vm() -> None:
    host = Host()
    host.add(100, "outer", 2)
    async with driving(host, size=(160, 48)) as d:
        host.exits(101, 0x72, 9000, isa=SVM | NESTED | REFLECTED)
        host.vcpus[101].nested = SECOND // 4
        await d.tick()
        await d.press("tab", "home")
        assert "Nesting 12.5%" in d.text()
        await d.press("down")
        assert "Nesting 25.0%" in d.text()
        await d.press("down")
        assert "Nesting" not in d.text()
