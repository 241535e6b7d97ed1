"""The head of a reason's page: its figures, how they went, where its time goes; and what it means."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from .. import units
from ..tables.page import Page
from ..tables.states import GLYPHS, bar
from .reason_brief import figure, paragraph
from .theme import Palette, palette, style

LABEL = 8  # characters before a trend or a bar
LEAST = 0.0005  # a share that the legend shows


class Facts(Static):
    """Numbers under their heads, two trends, and a bar of the states."""

    def __init__(self) -> None:
        super().__init__(id="facts")
        self._page: Page | None = None

    def show(self, page: Page) -> None:
        """Another reason, or other figures."""
        self._page = page
        self.on_resize()

    def on_resize(self) -> None:
        """In as many columns as there is room for."""
        width, colours = self.size.width, palette(self.app)
        if not self._page or not width:
            return
        page, label = self._page, style(colours.label)
        if not page.figures:
            self.update(Text("no such exit in this interval", label), layout=False)
            return
        heads, values = Text(no_wrap=True), Text(no_wrap=True)
        for head, value in page.figures:
            cells = max(len(head), len(value)) + 1
            if heads.cell_len + cells > width + 1:
                break
            heads.append(f"{head:<{cells}}", label)
            values.append_text(figure(value, colours)).append(" " * (cells - len(value)))
        lines = [heads, values, Text(), *_trends(page, width, colours), *_where(page, width, colours)]
        self.update(Text("\n").join(lines), layout=False)


def _trends(page: Page, width: int, colours: Palette) -> list[Text]:
    label, pen = style(colours.label), style(colours.trend_high)
    room = (width - 3) // 2 - LABEL
    if room < 8:
        return []
    line = Text(no_wrap=True)
    for head, values in (("EXITS/S", page.rates), ("P99", page.p99s)):
        line.append(f"{head:<{LABEL}}", label).append(units.sparkline([value or 0 for value in values], room), pen)
        line.append("   ")
    return [line]


def _where(page: Page, width: int, colours: Palette) -> list[Text]:
    """The bar, and below it how much of each state."""
    if not page.shares:
        return []
    label, room = style(colours.label), max(width - LABEL, 8)
    line = Text.assemble((f"{'WHERE':<{LABEL}}", label), no_wrap=True)
    for run, state in bar(page.shares, room):
        line.append(
            "█" * len(run) if not colours.colourless and state in GLYPHS else run, style(colours.fill.get(state, ""))
        )
    legend = Text(" " * LABEL, no_wrap=True)
    for state, share in page.shares.items():
        if share >= LEAST:
            swatch = GLYPHS[state] if colours.colourless else "■"
            legend.append(f"{swatch} ", style(colours.fill[state])).append(f"{state} ", label)
            legend.append_text(figure(units.percent(share), colours, "")).append("  ")
    return [line, legend]


class Meaning(Static):
    """What it is, its usual causes, what to try: each in a few lines."""

    def __init__(self) -> None:
        super().__init__(id="meaning")
        self._page: Page | None = None

    def show(self, page: Page) -> None:
        """Another reason."""
        if self._page is None or self._page.name != page.name:
            self._page = page
            self.on_resize()

    def on_resize(self) -> None:
        """In as many lines as there are."""
        (width, height), colours = self.size, palette(self.app)
        if not self._page or not width:
            return
        page = self._page
        parts = [(word, text) for word, text in (("Usual causes", page.causes), ("Try", page.advice)) if text]
        what = page.what or "Nobody has described this reason."
        lines = paragraph(what, width, max(height - 2 * len(parts), 1), colours.text)
        for left, (word, text) in zip(range(len(parts), 0, -1), parts, strict=True):
            said = paragraph(text, width - 14, -(-(height - len(lines)) // left), colours.text)
            for number, line in enumerate(said):
                lines.append(Text.assemble((f"{word if not number else '':<14}", style(colours.label)), line))
        self.update(Text("\n").join(lines), layout=False)


class ReasonFacts(Horizontal):
    """Both side by side."""

    def compose(self) -> ComposeResult:
        """Figures first."""
        yield Facts()
        yield Meaning()

    def show(self, page: Page) -> None:
        """Fill them."""
        self.query_one(Facts).show(page)
        self.query_one(Meaning).show(page)
