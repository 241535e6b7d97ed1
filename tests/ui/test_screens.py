"""How the dashboard looks, at any size, in any theme, with any name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kvmtop.sanitize import clean
from kvmtop.widgets.breadcrumbs import Trail
from kvmtop.widgets.themes import wear

from ..support.culprits import Culprits
from ..support.dashboard import IO, driving, small_host
from ..support.fake import Busy
from ..support.hostile import NASTY

SPINNER = re.compile("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] probes")
SCREENS = Path(__file__).parents[1] / "data" / "screens"


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


@pytest.mark.parametrize("keys", [(), ("enter",)], ids=["all", "page"])
async def test_a_screen_that_is_held_follows_its_size(keys: tuple[str, ...]) -> None:
    async with driving(Busy(), (120, 36)) as d:
        await d.tick(3)
        await d.press("space", *keys)
        for size in ((200, 60), (80, 24), (160, 48)):
            await d.pilot.resize_terminal(*size)
            await d.press()
            drawn = d.text()
            await d.press("t", "t")
            assert SPINNER.sub("", drawn) == SPINNER.sub("", d.text())
            assert "0:00:0" in drawn.split("\n")[0]


async def test_a_long_name_gives_way_to_the_filter_and_is_cut_between_words() -> None:
    name = "a host whose name has a lot of words and still more"
    async with driving(Busy(), (100, 30)) as d:
        trail = d.app.query_one(Trail)
        state = [("", "/io"), ("PAUSED", ""), ("0:00:21", "")]
        for width, left in ((100, "a host whose name has a lot of…"), (70, "a host whose…"), (50, "a host whose…")):
            await d.pilot.resize_terminal(width, 30)
            await d.press()
            trail.show([(name, None)], ["SVM"], [("2.13k", "exits/s"), ("2", "VMs"), ("3", "vCPUs")], state)
            line = str(trail.visual).rstrip()
            assert line.startswith(f"kvmtop  {left}  ") and line.endswith("0:00:21") and "2.13k exits/s" in line
            assert ("/io" in line) == (width == 100)


@pytest.mark.parametrize("theme", ["kvmtop-light", "textual-dark", "textual-light"])
async def test_other_themes(theme: str) -> None:
    async with driving() as d:
        d.app.theme = theme
        await d.tick()
        await d.press("home", "enter")
        assert "All VMs › hlt" in d.text()


async def test_a_theme_that_this_textual_does_not_have_is_the_dark_one() -> None:
    async with driving() as d:
        for name, worn in (("light", "kvmtop-light"), ("nord", "nord"), ("gone", "kvmtop-dark")):
            wear(d.app, name)
            assert d.app.theme == worn


@pytest.mark.parametrize("name", NASTY)
async def test_hostile_names(name: str) -> None:
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
                await d.until(lambda: "[bold red]x[/]" in "".join(d.names("vms")))


@pytest.mark.parametrize("size", [(80, 24), (120, 50), (200, 60)])
@pytest.mark.parametrize("keys", [(), ("2", "end", "enter"), ("down", "enter")], ids=["all", "vcpu", "page"])
async def test_screens_look_as_they_did(
    size: tuple[int, int], keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """KVMTOP_UPDATE_SCREENS=1 accepts what is drawn now."""
    monkeypatch.setattr("platform.node", lambda: "host")
    monkeypatch.setattr("platform.release", lambda: "6.12.0")
    async with driving(Busy(), size) as d:
        await d.tick(12)
        await d.press(*keys)
        await d.tick()
        as_it_was(request.node.callspec.id, d.text() + "\n")


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)], ids=["80x24", "120x36", "160x48"])
async def test_the_scheduler_page_looks_as_it_did(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("platform.node", lambda: "host")
    monkeypatch.setattr("platform.release", lambda: "6.12.0")
    async with driving(Culprits(), size) as d:
        await d.tick()
        await d.press("2", "home", "down", "down", "S")
        await d.tick(2)
        await d.press()
        as_it_was(f"scheduler-{request.node.callspec.id}", d.text() + "\n")


def as_it_was(name: str, drawn: str) -> None:
    file = SCREENS / f"{name}.txt"
    if os.environ.get("KVMTOP_UPDATE_SCREENS"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(drawn)
    assert drawn == file.read_text()
