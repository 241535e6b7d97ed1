"""Rows as tests read them."""

from __future__ import annotations

from kvmtop.tables.rows import Rows


def cells(table: Rows, row: int = 0) -> dict[str, object]:
    """Those of a row, by column."""
    headings, rows = table
    assert all(len(one.cells) == len(headings) for one in rows)
    return dict(zip([heading.key for heading in headings], rows[row].cells, strict=True))


def width(table: Rows) -> int:
    """In characters, with all gaps."""
    return sum(heading.width + 1 for heading in table[0])
