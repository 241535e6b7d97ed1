"""The slowest exits, one by one: of the last interval, and of the run."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from ..tables.rows import Rows
from .pane import Pane
from .table import Table

NOT_LOOKED = "nobody looked at this moment"


class SlowPage(VerticalScroll):
    """Two tables under each other."""

    DEFAULT_CSS = """
    SlowPage { scrollbar-size-vertical: 1; }
    SlowPage Pane { height: 1fr; min-height: 8; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorded = False

    def compose(self) -> ComposeResult:
        """The interval's, then the run's."""
        with Pane(id="interval-pane"):
            yield Table(id="slow-interval", empty="none yet: probes are attached while this page is open")
        with Pane(id="run-pane"):
            yield Table(id="slow-run", empty="none yet")

    def on_mount(self) -> None:
        """What they are."""
        self.query_one("#interval-pane", Pane).label("Slowest exits of the last interval", "idle ones left out")
        hint = "↵: what was around it · every exit is traced for that while this page is open"
        self.query_one("#run-pane", Pane).label("Slowest exits of this run", hint)

    @property
    def width(self) -> int:
        """Of the tables."""
        return self.query_one("#slow-interval", Table).room or self.size.width - 5

    def show(self, interval: Rows, run: Rows, looked: bool = True) -> None:
        """Headings and rows of both, slowest first. looked: whether somebody did when it was recorded."""
        if self.recorded:
            self.query_one("#slow-interval", Table).empty = "none" if looked else NOT_LOOKED
            self.query_one("#run-pane", Pane).label("Slowest exits of what was played", "while somebody looked")
        self.query_one("#slow-interval", Table).show(*interval)
        self.query_one("#slow-run", Table).show(*run)
