"""docs/other-tools.md quotes what the tools said side by side, and their counts agree."""

from __future__ import annotations

from tools.sidebyside import OUT, counts

from ..support.documents import quoted


def test_quoted_lines_are_of_the_run() -> None:
    lines = quoted(r"`tests/data/sidebyside\.txt`\):")
    said = [line.rstrip() for line in OUT.read_text().splitlines()]
    assert [line for line in lines if line not in said] == []
    assert len(lines) > 15


def test_all_counted_the_same() -> None:
    ours, *others = counts(OUT.read_text())
    assert len(ours) > 5
    assert others == [ours, ours]
