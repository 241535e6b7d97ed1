"""The screen of kvmtop compare, driven by keys and mouse."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Hashable
from dataclasses import replace
from time import monotonic

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from kvmtop.insight.compare import RecordingSpan
from kvmtop.model.exit_stats import Reason
from kvmtop.sanitize import clean
from kvmtop.tables.compare import BY_KEY, text
from kvmtop.ui.compare_app import Changes, Comparison
from kvmtop.widgets.help import Help

from ..support.hostile import NASTY
from ..support.pair import pair  # noqa: F401

HEADINGS = [
    "REASON",
    "RATE",
    "A",
    "RATE",
    "B",
    "CHANGE",
    "VERDICT",
    "TIME",
    "A",
    "TIME",
    "B",
    "CHANGE",
    "P50",
    "A",
    "P50",
    "B",
    "P99",
    "A",
    "P99",
    "B",
]


@pytest.fixture
def app(pair: tuple[str, str]) -> Comparison:  # noqa: F811
    a, b = map(RecordingSpan.read, pair)
    return Comparison(a, b)


def names(app: Comparison) -> list[str]:
    return [str(row.cells[0]) for row in app.query_one(Changes).rows]


def lines(app: Comparison) -> list[str]:
    """Without the mark of the cursor."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).replace("▎", " ").rstrip() for strip in strips]


async def drawn(pilot: Pilot[None], app: Comparison, headings: list[str] = HEADINGS) -> list[str]:
    """The screen once it has these."""
    end = monotonic() + 60
    while (found := lines(app))[2].split() != headings and monotonic() < end:
        await pilot.pause(0.02)
    assert found[2].split() == headings
    return found


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_figures_and_what_a_narrow_screen_leaves_out(app: Comparison) -> None:
    async with app.run_test(size=(120, 50)) as pilot:
        shown = await drawn(pilot, app)
        assert re.fullmatch(r" A: \S+/a: 10\.0s, 10 intervals, 150 exits/s", shown[0])
        assert re.fullmatch(r" B: \S+/b: 10\.0s, 10 intervals, 172 exits/s", shown[1])
        io, *others = (line.split() for line in shown[3:6])
        assert io[:8] == ["io", "50", "60", "+20%", "more", "2.00ms", "1.20ms", "-40%"]
        assert others[0][:8] == ["msr", "100", "105", "+5%", "noise", "200µs", "210µs", "+5%"]
        assert others[1][:8] == ["cpuid", "0", "7.0", "new", "more", "0", "7.00µs", "new"]
        assert others[1][8::2] == ["–", "–"] and others[1][9] != "–"
        await pilot.resize_terminal(80, 24)
        await drawn(pilot, app, HEADINGS[:12])
        await pilot.resize_terminal(60, 24)
        await drawn(pilot, app, HEADINGS[:7])


async def test_sorted_from_the_start(app: Comparison) -> None:
    by_name = Comparison(*app.parts, app.changes, "reason")
    async with by_name.run_test(size=(120, 50)) as pilot:
        shown = await drawn(pilot, by_name, ["REASON▲", *HEADINGS[1:]])
        assert [line.split()[0] for line in shown[3:6]] == ["cpuid", "io", "msr"]
        assert "by what made the vCPU leave the guest ▲" in "\n".join(shown)


async def test_sorting(app: Comparison) -> None:
    async with app.run_test(size=(120, 50)) as pilot:
        await drawn(pilot, app)
        for key, expected in (
            ("E", ["msr", "io", "cpuid"]),
            ("r", ["cpuid", "io", "msr"]),
            ("N", ["cpuid", "io", "msr"]),
            ("r", ["msr", "io", "cpuid"]),
            ("C", ["cpuid", "io", "msr"]),
            ("D", ["io", "msr", "cpuid"]),
        ):
            await press(pilot, key)
            assert names(app) == expected, key
        await press(pilot, "less_than_sign")
        assert app.sorting == "p99_b"
        seen = []
        for _ in range(len(BY_KEY) + 1):
            app.action_step_sort(1)
            seen.append(app.sorting)
        assert seen == ["", *BY_KEY]
        for expected in (["msr", "io", "cpuid"], ["cpuid", "io", "msr"]):
            await pilot.click(Changes, offset=(30, 0))
            await pilot.pause()
            assert (app.sorting, names(app)) == ("rate_a", expected)
        assert "RATE A▲" in lines(app)[2]
        app.action_sort("p50_a")
        assert names(app) == ["io", "msr", "cpuid"]
        app.action_reverse()
        assert names(app) == ["msr", "io", "cpuid"]  # unknown is last, whichever way


async def test_filter_help_and_quit(app: Comparison) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await drawn(pilot, app, HEADINGS[:12])
        await press(pilot, "slash", *"io|q")  # q is a letter here
        assert names(app) == ["io"]
        await press(pilot, "enter", "E")
        assert names(app) == ["io"] and "/io|q" in lines(app)[-2] and app.sorting == "rate_b"
        await press(pilot, "escape")
        assert len(names(app)) == 3 and app.is_running
        await press(pilot, "slash", "[", "x")
        assert "no reason matches '[x'" in "\n".join(lines(app))
        app.query_one(Changes).focus()  # as a click does
        await press(pilot, "escape", "question_mark")
        assert not app.screen_stack[0].query_one("#filter").has_class("-on")
        assert isinstance(app.screen, Help) and "Reverse the order" in "\n".join(lines(app))
        await press(pilot, "q")
        assert not isinstance(app.screen, Help) and app.is_running and len(names(app)) == 3
        await press(pilot, "enter", "escape")
    assert app.return_code == 0


async def test_hostile_names(pair: tuple[str, str]) -> None:  # noqa: F811
    a, b = (RecordingSpan.read(path) for path in pair)
    reason = next(iter(a.reasons.values()))
    reasons: dict[Hashable, Reason] = {
        (2, n): replace(reason, code=n, name=clean(name)) for n, name in enumerate(NASTY)
    }
    label = clean("".join(NASTY))[-190:] + "[red]@0:5"
    app = Comparison(replace(a, label=label, reasons=reasons), replace(b, reasons=reasons))
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await drawn(pilot, app, HEADINGS[:12])
        assert "[red]@0:5: 10.0s, 10 intervals" in shown[0] and len(names(app)) == len(NASTY)
        assert {cell_len(line) for line in shown[3:9]} <= {cell_len(shown[3])}
        assert max(map(cell_len, shown)) <= 80
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", "".join(shown))
        assert "[bold red]x[/]" in "\n".join(shown)


def test_in_a_terminal_it_ends_with_the_text(pair: tuple[str, str]) -> None:  # noqa: F811
    """On a terminal of its own, until it has said everything."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "kvmtop", "compare", *pair]
    env = {**os.environ, "TERM": "xterm-256color"}
    done = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=env)
    os.close(theirs)
    out, pressed = b"", False
    try:
        while True:
            out += os.read(ours, 65536)
            if not pressed and b"cpuid" in out:
                pressed = bool(os.write(ours, b"q"))
    except OSError:  # EIO: it has closed it
        pass
    finally:
        os.close(ours)
    assert done.wait(10) == 0 and pressed
    after = out.decode().rpartition("\x1b[?1049l")[2].replace("\r\n", "\n")
    assert (
        after.partition("A: ")[2]
        == "\n".join(text(RecordingSpan.read(pair[0]), RecordingSpan.read(pair[1]))).partition("A: ")[2] + "\n"
    )


async def test_both_recordings_are_named_where_it_is_narrow(app: Comparison) -> None:
    async with app.run_test(size=(30, 12)) as pilot:
        shown = await drawn(pilot, app, ["REASON", "RATE", "A"])
        assert shown[0].lstrip().startswith("A: …") and shown[1].lstrip().startswith("B: …") and "REASON" in shown[2]
