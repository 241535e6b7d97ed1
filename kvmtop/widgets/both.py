"""The lower pane over two VMs or vCPUs: their figures side by side."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal

from ..tables.rows import Rows
from .table import Table


class Both(Horizontal):
    """Where their time goes, and for which exits."""

    DEFAULT_CSS = """
    Both #both-states { width: 1fr; margin-right: 3; }
    Both #both-reasons { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        """Two tables that nobody moves in."""
        for name in ("both-states", "both-reasons"):
            table = Table(id=name, empty="no exit in this interval")
            table.can_focus = False
            yield table

    @property
    def widths(self) -> tuple[int, int]:
        """Characters of the tables."""
        states, reasons = (self.query_one(f"#{name}", Table).room for name in ("both-states", "both-reasons"))
        return states, reasons

    def show(self, states: Rows, reasons: Rows) -> None:
        """Fill them."""
        for name, rows in (("both-states", states), ("both-reasons", reasons)):
            table = self.query_one(f"#{name}", Table)
            table.show(*rows)
            table.cursor = None
