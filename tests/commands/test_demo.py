"""The recordings that come with kvmtop."""

from __future__ import annotations

import pytest

from kvmtop import cli

from ..support.program import ROOT


@pytest.mark.parametrize("which", ["amd", "intel"])
def test_the_demos_show_what_their_titles_say(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", which]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("web01" in out and "db01" in out and "npf" in out) if which == "amd" else "EPT_VIOLATION" in out
    assert f"emulated {'AMD' if which == 'amd' else 'Intel'} host" in out
    files = list((ROOT / "kvmtop" / "demo").iterdir())
    assert len(files) == 2 and sum(file.stat().st_size for file in files) < 1_000_000
