"""The slowest exits, one by one: of the last interval, and of the run."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ..tables.rows import Rows
from .table import Table


class SlowPage(VerticalScroll):
    """Two tables under each other."""

    DEFAULT_CSS = """
    SlowPage { scrollbar-size-vertical: 1; }
    SlowPage .title { height: 1; text-style: bold; color: $text-muted; padding: 0 1; }
    SlowPage Table { height: 1fr; min-height: 8; }
    """

    def compose(self) -> ComposeResult:
        """The interval's, then the run's."""
        yield Static("The slowest exits of the last interval, idle ones aside", classes="title")
        yield Table(id="slow-interval", empty="none yet: the probes are attached while this page is open")
        yield Static("The slowest exits seen in this run, while somebody looked", classes="title")
        yield Table(id="slow-run", empty="none yet")

    def show(self, interval: Rows, run: Rows) -> None:
        """Headings and rows of both, slowest first."""
        self.query_one("#slow-interval", Table).show(*interval)
        self.query_one("#slow-run", Table).show(*run)
