"""README's stories say what the replays of their recordings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmtop.cli import main
from tools.stories import FOLDER, STORIES

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", STORIES)
def test_quoted_lines_are_of_the_replay(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    story = re.search(rf"`{name}\.kvmtop`\):\n\n((?:    .*\n)+)", README.read_text())
    assert story, f"README does not quote {name}"
    assert main(["--replay", str(FOLDER / f"{name}.kvmtop"), "--batch"]) == 0
    said = capsys.readouterr().out.splitlines()
    quoted = [line[4:] for line in story[1].splitlines()]
    assert len(quoted) > 3
    assert [line for line in quoted if line not in said] == []
