"""The body of the dashboard in three panes: the reasons, the VMs with their vCPUs, and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.message import Message

from .. import units
from . import chart
from .chart import Chart
from .line import Line
from .table import Table

PANES = {"reasons": "Reasons", "vms": "VMs", "chart": "Chart"}


@dataclass
class PaneClicked(Message):
    """The title of a pane was clicked."""

    pane: str


class PaneTitles(Line):
    """The panes by name, and by number where keys have them; there where one of them is seen at a time."""

    def __init__(self, panes: Mapping[str, str] = PANES, numbered: bool = True, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._titles = {
            pane: f"{number} {title}" if numbered else title for number, (pane, title) in enumerate(panes.items(), 1)
        }

    def show_pane(self, shown: str) -> None:
        """Mark the one that is shown."""
        titles = self._titles.items()
        self.show(Text("  ").join(Text(title, "bold reverse" if pane == shown else "") for pane, title in titles))

    def on_click(self, event: events.Click) -> None:
        """Which title is under the mouse."""
        end = 1  # of the padding
        for pane, title in self._titles.items():
            end += len(f"{title}  ")
            if event.x < end or pane == list(self._titles)[-1]:
                self.post_message(PaneClicked(pane))
                return


class Overview(Container):
    """One pane at a time (narrow or short), reasons above the rest (medium and tall), or side by side (wide).

    kvmtop.tcss makes these shapes; the class tells it the pane.
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pane = "reasons"  # the one that is shown, where one is
        self.filtered = "reasons"  # the table that had the keys last, which a filter is of
        self.add_class("-reasons")

    def compose(self) -> ComposeResult:
        """The reasons, and all else at their side."""
        yield Table(id="reasons", empty="waiting for the first exit …")
        with Container(id="side"):
            yield Table(id="vms", empty="no VM yet; one that starts appears here by itself")
            with Vertical(id="chartbox"):
                yield Line(id="chart-title")
                yield Chart(id="chart")

    def table(self, id: str) -> Table:
        """That of the reasons, or of the vms; it has no width where it is not seen."""
        return self.query_one(f"#{id}", Table)

    def turn_to(self, pane: str) -> None:
        """Show and focus a pane."""
        self.set_class(False, f"-{self.pane}")
        self.set_class(True, f"-{pane}")
        self.pane = pane
        if pane != "chart":
            self.turn_keys_to(pane)

    def beside(self, by: int, one_pane: bool) -> str:
        """The next pane, or the one before. one_pane: only one is seen, and the chart is one, too."""
        panes = list(PANES) if one_pane else list(PANES)[:2]
        return panes[(list(PANES).index(self.pane) + by) % len(panes)]

    def turn_keys_to(self, table: str) -> None:
        """Give the keys to a table."""
        self.filtered = table
        self.focus_table()

    def focus_table(self) -> None:
        """Give the keys to the table that had them last, from the next key on (focus() would do it later)."""
        self.screen.set_focus(self.table(self.filtered))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember which table had the keys last."""
        if isinstance(event.widget, Table) and event.widget.id:
            self.filtered = event.widget.id

    @property
    def shows_chart(self) -> bool:
        """Whether there is room for it."""
        return bool(self.query_one(Chart).size.width)

    def show_rates(self, title: str, rates: Sequence[float | None], span: str) -> None:
        """The chart: exits a second, oldest first, None where it is unknown; span: how far back they go."""
        self.query_one("#chart-title", Line).show(Text(title, no_wrap=True))
        self.query_one(Chart).show(lambda width, height: chart.line(rates, width, height, units.rate, span))
