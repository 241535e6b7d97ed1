"""README quotes what the tools said side by side, and their counts agree."""

from __future__ import annotations

import re

from tools.sidebyside import OUT, counts

from ..support.program import ROOT


def test_quoted_lines_are_of_the_run() -> None:
    quoted = re.search(r"`tests/data/sidebyside\.txt`\):\n\n((?:    .*\n)+)", (ROOT / "README.md").read_text())
    assert quoted
    said = [line.rstrip() for line in OUT.read_text().splitlines()]
    assert [line for line in quoted[1].splitlines() if line[4:] not in said] == []
    assert len(quoted[1].splitlines()) > 15


def test_all_counted_the_same() -> None:
    ours, *others = counts(OUT.read_text())
    assert len(ours) > 5
    assert others == [ours, ours]
