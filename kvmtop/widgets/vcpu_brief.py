"""The lower pane over a vCPU or a VM: where its time goes, why it waits, its other threads, its slowest exits."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from .. import units
from ..tables.page import VcpuBrief
from .area import Area
from .cells import fit
from .reason_brief import figure, length, paragraph
from .table import Table
from .theme import palette, style

WORD = 9  # characters of the word before an explanation
HINT = "Who ran instead? S tells, in about a second"


class Explained(Static):
    """What is out of the ordinary, in words."""

    def __init__(self) -> None:
        super().__init__(id="explained")
        self._brief: VcpuBrief | None = None

    def show(self, brief: VcpuBrief) -> None:
        """Another one, or other figures."""
        self._brief = brief
        self.on_resize()

    def on_resize(self) -> None:
        """In as many lines as there are."""
        width, height, colours = *self.size, palette(self.app)
        if not self._brief or not width:
            return
        lines: list[Text] = []
        for part in self._brief.paragraphs:
            lines += [Text()] if lines else []
            head = Text(part.head, style(colours.tone[part.state], "", "bold"))
            if head.cell_len + 2 + cell_len(part.rest) <= width:
                lines.append(head.append(f"  {part.rest}", style(colours.label, "", "not bold")))
            else:
                lines += [head, *paragraph(part.rest, width, 2, colours.label)]
            for word, text in part.lines:
                said = paragraph(text, width - WORD, 2, colours.text)
                for number, line in enumerate(said):
                    lines.append(Text.assemble((f"{word if not number else '':<{WORD}}", style(colours.label)), line))
        self.update(Text("\n").join(lines[:height]), layout=False)


class Waited(Static):
    """Who ran instead."""

    def __init__(self) -> None:
        super().__init__(id="waited")
        self.hint = HINT
        self._brief: VcpuBrief | None = None
        self._lines = 1

    def show(self, brief: VcpuBrief) -> None:
        """Another one, or other figures."""
        self._brief = brief
        self.on_resize()

    def on_resize(self) -> None:
        """A line each."""
        brief, width, colours = self._brief, self.size.width, palette(self.app)
        if not brief or not width:
            return
        share = (brief.shares or {}).get("wait")
        tone = colours.tone["wait"] if share and share > 0.01 else colours.label
        head = Text(f"Waited {units.percent(share)}", style(tone, "", "bold"))
        if brief.culprits is None:
            lines = [head, *(paragraph(self.hint, width, 2, colours.label) if share and share > 0.01 else [])]
        else:
            lines = [head.append("  who ran instead", style(colours.label, "", "not bold"))]
            bar = max(min(width // 3, 16), 4)
            room = max(width - bar - 8, 6)
            for name, part in brief.culprits:
                number = figure(units.percent(part), colours, "")
                line = Text.assemble(fit(name, room, True), " ", length(part, bar, colours, "wait"))
                lines.append(
                    line.append(" " * max(width - line.cell_len - cell_len(number.plain), 1)).append_text(number)
                )
        grown, self._lines = len(lines) != self._lines, len(lines)
        self.update(Text("\n").join(lines), layout=grown)


class VcpuParts(Horizontal):
    """Three parts side by side."""

    def compose(self) -> ComposeResult:
        """Without a border around each."""
        with Vertical(id="its-states"):
            yield Static("Where its time goes", classes="head")
            yield Area(id="its-area")
            yield Explained()
        with Vertical(id="its-threads"):
            yield Waited()
            yield Table(id="its-others", empty="no other thread is known")
        with Vertical(id="its-slow"):
            yield Static("Its slowest exits", classes="head")
            yield Table(id="its-slowest", empty="x tells them: probes look at exits meanwhile")

    def leave_out_probes(self) -> None:
        """No word on how to see what only they tell."""
        self.query_one(Waited).hint = ""
        self.query_one("#its-slowest", Table).empty = "nobody looked for slow exits"

    @property
    def widths(self) -> dict[str, int]:
        """Characters of the tables."""
        return {name: self.query_one(f"#its-{name}", Table).room for name in ("others", "slowest")}

    def show(self, brief: VcpuBrief) -> None:
        """Fill it."""
        self.query_one(Area).show(brief.history, brief.seconds)
        self.query_one(Explained).show(brief)
        self.query_one(Waited).show(brief)
        self.query_one("#its-others", Table).show(*brief.others)
        self.query_one("#its-slowest", Table).show(*(brief.slow or ((), ())))
