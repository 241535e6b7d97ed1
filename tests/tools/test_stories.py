"""docs/stories.md says what the replays of their recordings say."""

from __future__ import annotations

import pytest

from kvmtop.cli import main
from tools.stories import FOLDER, STORIES

from ..support.documents import quoted


@pytest.mark.parametrize("name", STORIES)
def test_quoted_lines_are_of_the_replay(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(FOLDER / f"{name}.kvmtop"), "--batch"]) == 0
    said = capsys.readouterr().out.splitlines()
    story = quoted(rf"`{name}\.kvmtop`\)?:")
    assert len(story) > 3
    assert [line for line in story if line not in said] == []
