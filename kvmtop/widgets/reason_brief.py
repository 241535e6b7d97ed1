"""The lower pane over a reason: what it means and who has it, how long its exits take, and how that changes."""

from __future__ import annotations

from textwrap import wrap

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from ..tables.page import Page
from . import chart
from .cells import fit, parts
from .chart import Chart
from .heatmap import heatmap, legend
from .line import Title
from .theme import Palette, palette, style

BAR = 0.6  # of the width
HOLDERS = 3  # lines: the others are one
HINT = "What they touch: ↵ tells", ", in half a second"  # by probes; the end gives way


def length(share: float, width: int, colours: Palette, state: str) -> Text:
    """A bar of one part before its track; what is there at all has a cell."""
    cells = min(max(round(share * width), share > 0), width)
    return Text.assemble(("▆" * cells, style(colours.fill[state])), ("▁" * (width - cells), style(colours.track)))


def figure(text: str, colours: Palette, strong: str = "bold") -> Text:
    """A number, with its unit less bright."""
    number, unit = parts(text)
    return Text.assemble((number, style(colours.strong, "", strong)), (unit, style(colours.label)))


def who_has_it(page: Page, width: int, most: int, colours: Palette) -> list[Text]:
    """A line each: name, bar and share."""
    named = list(page.holders[:most])
    if (others := len(page.holders) + page.others - len(named)) > 0:
        named = named[: most - 1]
        others = len(page.holders) + page.others - len(named)
        named.append((f"{others} others", max(1 - sum(share for _, share in named), 0.0)))
    room = max((cell_len(name) for name, _ in named), default=0)
    room = min(room, max(width // 2, 8))
    lines = []
    for name, share in named:
        bar = max(min(width - room - 8, int(width * BAR)), 4)
        number = figure(f"{100 * share:.0f}%", colours, "")
        line = Text.assemble(
            (fit(name, room, True), style(colours.text)), "  ", length(share, bar, colours, page.state)
        )
        line.append(" " * max(width - line.cell_len - number.cell_len, 1))
        lines.append(line.append_text(number))
    return lines


def paragraph(text: str, width: int, most: int, how: str) -> list[Text]:
    """Cut at a word's end where it has more lines than there is room for."""
    lines = wrap(text, max(width, 8))
    if len(lines) > most:
        last = lines[most - 1] if most else ""
        lines = [*lines[: most - 1], (last if len(last) < width - 1 else last.rpartition(" ")[0]) + " …"][:most]
    return [Text(line, style(how)) for line in lines]


class What(Static):
    """The text beside the charts."""

    def __init__(self) -> None:
        super().__init__(id="what")
        self.hint = HINT
        self._page: Page | None = None

    def show(self, page: Page) -> None:
        """Another reason, or other figures."""
        self._page = page
        self.on_resize()

    def on_resize(self) -> None:
        """As much as there is room for: the meaning first, then who has it, then causes and advice."""
        page, (width, height) = self._page, self.size
        if page and width and height:
            self.update(Text("\n").join(self._lines(page, width, height)), layout=False)

    def _lines(self, page: Page, width: int, height: int) -> list[Text]:
        colours = palette(self.app)

        def head(text: str) -> Text:
            return Text(text, style(colours.text, "", "bold"))

        who = who_has_it(page, width, HOLDERS if height > 10 else 2, colours)
        most = 6 if height > 20 else 3 if height > 10 else 2 if height > 6 else 1
        lines = [head("What it means"), *paragraph(page.what or "Nobody has described it.", width, most, colours.text)]
        if who and height - len(lines) > 2:
            lines += [*([Text()] if height - len(lines) > len(who) + 1 else []), head("Who has it"), *who]
        left = height - len(lines) - 1
        if page.causes and left > 4:
            advice = paragraph(f"Try: {page.advice}", width, max((left - 3) // 2, 1), colours.label)
            causes = paragraph(page.causes, width, left - 2 - len(advice), colours.text)
            lines += [Text(), head("Usual causes"), *causes, *advice]
        return [*lines, *self._hint(width, colours)][:height]

    def _hint(self, width: int, colours: Palette) -> list[Text]:
        """The key that tells more, as a line, where there is room for that."""
        words = "".join(self.hint)
        words = words if len(words) <= width else self.hint[0]
        line = Text(words, style(colours.label))
        line.highlight_words(["↵"], style(colours.accent, "", "bold"))
        return [line] if 0 < len(words) <= width else []


class ReasonBrief(Horizontal):
    """Three parts side by side."""

    def compose(self) -> ComposeResult:
        """Without a border around each."""
        yield What()
        for name, how in (("lower-hist", "part"), ("lower-heat", "part over-time")):
            with Vertical(classes=how):  # not :last-child: where one is hidden, another is the last, and stays so
                yield Title(id=f"{name}-title")
                yield Chart(id=name)

    def show(self, page: Page) -> None:
        """Fill it."""
        self.query_one(What).show(page)
        durations(self, page, "lower-hist", "lower-heat")


def durations(parent: Widget, page: Page, hist: str, heat: str) -> None:
    """How long a reason's exits take, as a histogram and over time, in two charts with a title line each."""
    colours = palette(parent.app)
    fewer = Text.assemble(*legend(colours, page.state))
    for name, title, hint in (
        (hist, "Durations of the last interval", Text("log scale", style(colours.label))),
        (heat, "Durations over time", fewer),
    ):
        parent.query_one(f"#{name}-title", Title).show_both(Text(title, style(colours.text, "", "bold")), hint)
    chart_of = parent.query_one(f"#{hist}", Chart)
    if any(page.hist):
        chart_of.show(lambda w, h, c: chart.histogram(page.hist, page.marks, page.decades, w, h, c, page.state))
    else:
        chart_of.say("no exit in this interval")
    seconds = sum(page.seconds) / max(len(page.seconds), 1)
    parent.query_one(f"#{heat}", Chart).show(
        lambda w, h, c: heatmap(page.heat, page.decades, w, h, c, page.state, seconds)
    )
