"""The Scheduler page: who has the CPU instead, who wakes the vCPUs, what holds them up, and where they are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from ..tables.page import SchedulerView
from ..tables.rows import Key, Rows
from ..tables.text import shortened
from . import chart
from .canvas import Runs
from .chart import Chart
from .overview import PaneTitles
from .table import Pointed, Table
from .theme import Palette

_ATTACHING = "the probes are being attached, which takes about a second …"
_RECORDED = "Nobody looked at the scheduler at this moment; the vCPUs' states and the other threads are recorded."
# Those below who ran instead, which is always seen; one at a time where the screen is small.
PANES = {"waking": "Waking up", "blocked": "Blocked on", "vcpus": "vCPUs", "others": "Other threads"}
_EMPTY = {
    "culprits": "no vCPU waited for a CPU",
    "waking": "no wake-up in this interval",
    "blocked": "no vCPU was blocked",
    "vcpus": "no vCPU yet",
    "others": "no other thread is known",
}


class SchedulerPage(VerticalScroll, can_focus=False):
    """The headline and who ran instead, above the other panes; kvmtop.tcss says how many of them are seen at once."""

    DEFAULT_CSS = """
    SchedulerPage { scrollbar-size-vertical: 1; }
    SchedulerPage .title { height: 1; text-style: bold; color: $text-muted; padding: 0 1; }
    SchedulerPage .note { padding: 0 1; color: $text-muted; }
    SchedulerPage #blocked-note { height: 1; }
    SchedulerPage #vcpus-note { height: 2; }
    SchedulerPage #headline { height: auto; max-height: 4; padding: 0 1; text-style: bold; }
    SchedulerPage #culprits { height: 1fr; min-height: 4; }
    SchedulerPage #scheduler-panes { height: 1; padding: 0 1; background: $surface; color: $text-muted; }
    SchedulerPage #more { height: 1fr; min-height: 6; }
    SchedulerPage #more Table { height: 1fr; }
    SchedulerPage #waking { width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorded = False  # over a recording, in which nobody may have looked
        self.trouble: str | None = None  # why what it waits for may not come
        self.pane = "waking"  # the one that is seen, where one is
        self._view: SchedulerView | None = None
        self.add_class("-waking")

    def compose(self) -> ComposeResult:
        """From what matters most to where to look next."""
        yield Static(id="headline")
        yield Static("Who ran instead", classes="title")
        yield Table(id="culprits")
        yield PaneTitles(PANES, id="scheduler-panes")
        with Container(id="more"):
            for pane, title in PANES.items():
                with Vertical(id=f"{pane}-pane"):
                    yield Static(title, classes="title", id=f"{pane}-title")
                    if pane == "waking":
                        with Horizontal():
                            yield Chart(id="wake-hist")
                            yield Table(id=pane)
                    else:
                        yield Table(id=pane)
                        if pane != "others":
                            yield Static(classes="note", id=f"{pane}-note")

    def table(self, pane: str) -> Table:
        """That of a pane, or of the culprits."""
        return self.query_one(f"#{pane}", Table)

    @property
    def widths(self) -> dict[str, int]:
        """Characters of each table; of one that is not seen, about what it will have."""
        return {pane: self.table(pane).room or self.size.width - 2 for pane in ("culprits", *PANES)}

    def begin(self, at: Key) -> None:
        """Another scope: nothing is known of it yet, and the cursor goes to its vCPU, if it is one."""
        self.show(SchedulerView("", {}))
        for pane in ("culprits", *PANES):
            self.table(pane).cursor = at if pane == "vcpus" else None
        self.screen.set_focus(self.table("culprits"))
        self.scroll_home(animate=False)

    def turn_to(self, pane: str) -> None:
        """Show a pane and give it the keys."""
        if pane in PANES:
            self.remove_class(f"-{self.pane}")
            self.add_class(f"-{pane}")
            self.pane = pane
            self.query_one(PaneTitles).show_pane(pane)
        self.screen.set_focus(self.table(pane))

    def beside(self, by: int) -> str:
        """The next pane, or the one before, from where the keys are."""
        panes = ["culprits", *PANES]
        focused = self.screen.focused
        at = panes.index(focused.id) if isinstance(focused, Table) and focused.id in panes else 0
        return panes[(at + by) % len(panes)]

    def show(self, view: SchedulerView) -> None:
        """Fill the page."""
        self._view = view
        self.query_one("#headline", Static).update(Text(view.headline))
        self.query_one(PaneTitles).show_pane(self.pane)
        for pane in ("culprits", *PANES):
            self._fill(pane, view.tables.get(pane))
        self._title("waking", view.waking)
        self.query_one("#wake-hist", Chart).show(self._draw)

    def _fill(self, pane: str, rows: Rows | None) -> None:
        table = self.table(pane)
        if rows:
            table.empty = _EMPTY[pane]
        elif pane == "culprits":
            table.empty = _RECORDED if self.recorded else self.trouble or _ATTACHING
        else:
            table.empty = "not known" if self.recorded or self.trouble else "not known yet"
        table.show(*(rows or ((), ())))
        self._note(pane)

    def _draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        if not self._view or not self._view.decades:
            return []
        marks = self._view.marks if height >= 10 else []  # in fewer lines they take the room of the bars
        return chart.histogram(self._view.hist, marks, self._view.decades, width, height, colours, "wait")

    def _title(self, pane: str, words: str) -> None:
        title = Text.assemble(PANES[pane], (f": {words}" if words else "", "not bold"), no_wrap=True)
        self.query_one(f"#{pane}-title", Static).update(title, layout=False)

    @on(Pointed)
    def _pointed(self, event: Pointed) -> None:
        if event.table.id in PANES:
            self._note(event.table.id)

    def _note(self, pane: str) -> None:
        """The line about the row under the cursor."""
        note = self._view and self._view.notes.get(pane)
        if note:
            key = self.table(pane).cursor
            words, line = (note(key) if key is not None else None) or "", self.query_one(f"#{pane}-note", Static)
            room = line.size.width * line.size.height
            line.update(Text(shortened(words, room) if room else words), layout=False)
