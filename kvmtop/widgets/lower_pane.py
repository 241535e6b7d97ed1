"""The pane that follows the cursor: a reason, a vCPU or a VM, or two of them compared."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult

from ..tables.page import Page, VcpuBrief
from ..tables.rows import Rows
from .both import Both
from .pane import Pane
from .reason_brief import ReasonBrief
from .theme import palette, style
from .vcpu_brief import VcpuParts


class LowerPane(Pane):
    """One of its kinds of content at a time."""

    def compose(self) -> ComposeResult:
        """All of them."""
        yield ReasonBrief(id="of-reason")
        yield VcpuParts(id="of-vcpu")
        yield Both(id="of-both")

    def _turn_to(self, kind: str) -> None:
        for name in ("of-reason", "of-vcpu", "of-both"):
            self.query_one(f"#{name}").display = name == kind

    @property
    def widths(self) -> dict[str, int]:
        """Characters of the tables."""
        return self.query_one(VcpuParts).widths

    def clear(self) -> None:
        """There is no row, so none to tell of."""
        self._turn_to("")
        self.label("")

    def show_reason(self, page: Page) -> None:
        """A reason."""
        colours = palette(self.app)
        name = Text(page.name, style(colours.strong, "", "bold"))
        self._turn_to("of-reason")
        self.label(
            name.append(f" · {page.title}" if page.title else "", style(colours.label, "", "not bold")), self._enter()
        )
        self.query_one(ReasonBrief).show(page)

    def show_vcpu(self, brief: VcpuBrief) -> None:
        """A vCPU or a VM."""
        colours = palette(self.app)
        title = Text.assemble(
            (brief.name, style(colours.strong, "", "bold")),
            (f" · {brief.place}", style(colours.label)),
            (f" · {brief.now}" if brief.now else "", style(colours.tone.get(brief.state, colours.label))),
        )
        self._turn_to("of-vcpu")
        self.label(title, self._enter())
        self.query_one(VcpuParts).show(brief)

    @property
    def both(self) -> Both:
        """For two that are compared."""
        return self.query_one(Both)

    def show_both(self, a: str, b: str, states: Rows, reasons: Rows) -> None:
        """Two VMs or vCPUs."""
        colours = palette(self.app)
        name = style(colours.strong, "", "bold")
        title = Text.assemble((f"◆ {a}", name), (" beside ", style(colours.label)), (b, name))
        unmark = Text.assemble(("m", style(colours.accent, "", "bold")), (" marks this one", style(colours.label)))
        self._turn_to("of-both")
        self.label(title, unmark)
        self.both.show(states, reasons)

    def _enter(self) -> Text:
        colours = palette(self.app)
        return Text.assemble(("Enter", style(colours.accent, "", "bold")), (": all of it", style(colours.label)))
