"""Screens into files, rows and findings to the clipboard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmtop.model.scope import Scope
from kvmtop.ui.taking import file_name

from ..support.dashboard import driving
from ..support.hostile import NASTY


async def test_a_screen_is_written_as_svg_and_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with driving(size=(160, 48)) as d:
        d.app.go(Scope(4000, 4002))
        await d.press()
        drawn = d.text()
        await d.press("s")
        svg, text = sorted(tmp_path.iterdir())
        assert re.fullmatch(r"kvmtop-web01-\d{8}-\d{6}\.svg", svg.name) and text.stem == svg.stem
        assert text.read_text().split("\n")[:20] == drawn.split("\n")[:20]
        assert svg.read_text().startswith("<svg") and "vCPU" in svg.read_text()


async def test_the_title_answers_before_the_picture_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with driving(size=(160, 48)) as d:
        d.app.action_save_screen()
        assert "saving …" in d.text().split("\n")[0] and not list(tmp_path.iterdir())
        await d.press()
        (svg,) = tmp_path.glob("*.svg")
        assert "saving" not in d.text() and "saving" not in svg.read_text()


async def test_it_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driving(size=(160, 48)) as d:
        told: list[str] = []
        monkeypatch.setattr(d.app, "notify", lambda text, **_: told.append(text))
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        await d.press("s")
        assert len(told) == 1 and "cannot write kvmtop-all-" in told[0] and "No such file" in told[0]


@pytest.mark.parametrize("name", [*NASTY, "a/../../etc/passwd", "..", "-rf", "x" * 500, ""])
def test_files_have_harmless_names(name: str) -> None:
    assert re.fullmatch(r"kvmtop-[A-Za-z0-9_][A-Za-z0-9._-]{0,59}-now", file_name(name, "now"))


async def test_the_row_under_the_cursor_goes_to_the_clipboard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driving(size=(160, 48)) as d:
        copied: list[str] = []
        monkeypatch.setattr(d.app, "copy_to_clipboard", copied.append)
        await d.press("N", "home", "y")
        assert copied[-1].startswith("io, EXITS/S 12, ") and "▆" not in copied[-1] and "█" not in copied[-1]
        await d.press("2", "end", "y")
        assert copied[-1].startswith("web01 vCPU 1, EXITS/S 16, ")
        d.host.exits(4001, 0x7B, 700_000_000, user=690_000_000)
        await d.tick()
        await d.press("f", "y")
        assert copied[-1].startswith("vCPU 0 of web01 spends 69.0% of its time in user space") and copied[-1].endswith(
            "]"
        )
