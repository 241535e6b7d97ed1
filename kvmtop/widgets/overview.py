"""The body of the dashboard: the reasons beside the VMs, above what the cursor is on; or one of them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.message import Message

from .line import Line
from .lower_pane import LowerPane
from .pane import Pane, TabClicked
from .reason_brief import What
from .table import Table
from .vcpu_brief import VcpuParts

PANES = {"reasons": "Reasons", "vms": "VMs", "detail": "Detail"}
TABS = {**PANES, "slow": "Slow exits"}


@dataclass
class PaneClicked(Message):
    """The title of a pane was clicked."""

    pane: str


class PaneTitles(Line):
    """The panes by name; there where one of them is seen at a time."""

    def __init__(self, panes: Mapping[str, str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._titles = panes

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
    """kvmtop.tcss says which panes are seen; the class tells it the one that is, where only one is."""

    # For when the lower pane is seen instead of the table whose cursor it follows.
    BINDINGS: ClassVar[list[BindingType]] = [
        one for one in Table.BINDINGS if isinstance(one, Binding) and one.action in ("move(-1)", "move(1)", "select")
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pane = "reasons"  # the one that is shown, where one is
        self.filtered = "reasons"  # the table that had the keys last, which a filter is of
        self._tabs = TABS
        self.add_class("-reasons")

    def compose(self) -> ComposeResult:
        """The tables, each with a few lines on its cursor's row for screens without the lower pane."""
        with Horizontal(id="tables"):
            with Pane(id="reasons-pane"):
                yield Table(id="reasons", empty="waiting for the first exit …")
                yield Line(id="reasons-brief", classes="brief")
            with Pane(id="vms-pane"):
                yield Table(id="vms")
                yield Line(id="vms-brief", classes="brief")
        yield LowerPane(id="lower")

    def table(self, id: str) -> Table:
        """That of the reasons, or of the vms; it has no width where it is not seen."""
        return self.query_one(f"#{id}", Table)

    @property
    def lower(self) -> LowerPane:
        """The pane that follows the cursor."""
        return self.query_one(LowerPane)

    @property
    def tabbed(self) -> bool:
        """Whether one pane is seen at a time."""
        return self.screen.has_class("-narrow") or self.screen.has_class("-medium")

    @property
    def whole(self) -> bool:
        """Whether the lower pane has all the room where it could be below the tables."""
        return self.pane == "detail" and not self.tabbed

    def turn_to(self, pane: str) -> None:
        """Show a pane; a table gets the keys."""
        self.set_class(False, f"-{self.pane}")
        self.set_class(True, f"-{pane}")
        self.pane = pane
        self.lower.can_focus = pane == "detail"
        if pane == "detail":
            self.focus_table()
        else:
            self.turn_keys_to(pane)

    def beside(self, by: int) -> str:
        """The next pane, or the one before; of those side by side, of the tables."""
        if self.whole:
            return self.filtered
        panes = list(PANES) if self.tabbed else list(PANES)[:2]
        now = self.pane if self.tabbed else self.filtered
        return panes[((panes.index(now) if now in panes else 0) + by) % len(panes)]

    def turn_keys_to(self, table: str) -> None:
        """Give the keys to a table."""
        self.filtered = table
        self.focus_table()

    def focus_table(self) -> None:
        """Give the keys to the table that had them last, or to the pane that is seen instead; from the next key on
        (focus() would do it later)."""
        self.screen.set_focus(self.lower if self.lower.can_focus else self.table(self.filtered))

    def action_move(self, by: int) -> None:
        """Up and down in the table that had the keys last."""
        self.table(self.filtered).action_move(by)

    def action_select(self) -> None:
        """Open the row of its cursor."""
        self.table(self.filtered).action_select()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember which table had the keys last."""
        if isinstance(event.widget, Table) and event.widget.id in ("reasons", "vms"):
            self.filtered = event.widget.id

    @on(TabClicked)
    def _tab(self, event: TabClicked) -> None:
        event.stop()
        self.post_message(PaneClicked(event.pane))

    def label(self, reasons: Text | str, vms: Text | str) -> None:
        """The hints in the upper borders of the tables."""
        for id, title, hint in (("reasons", "Exit reasons", reasons), ("vms", "VMs and vCPUs", vms)):
            pane = self.query_one(f"#{id}-pane", Pane)
            pane.tabs(self._tabs if self.tabbed else {}, id)
            pane.label(title, "" if self.tabbed else hint)
        self.lower.tabs(self._tabs if self.tabbed else {}, "detail")

    def leave_out_probes(self) -> None:
        """No word on what probes would tell: a recording has what they told."""
        self.query_one(What).hint = "", ""
        self.query_one(VcpuParts).leave_out_probes()
