"""A reason's page: how long its exits take, how that changes, and who has them."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.widgets import Static

from .. import units
from ..tables.page import Page
from ..tables.rows import Rows
from . import chart
from .chart import Chart
from .table import Table
from .theme import SKY, VERMILION

_WAIT = "the probes are being attached …"


class ReasonPage(VerticalScroll):
    """Scrolls where the screen is small."""

    DEFAULT_CSS = """
    ReasonPage { scrollbar-size-vertical: 1; }
    ReasonPage .title { height: 1; text-style: bold; color: $text-muted; padding: 0 1; }
    ReasonPage #facts { height: auto; padding: 0 1; }
    ReasonPage #meaning { height: auto; padding: 0 1; color: $text-muted; }
    ReasonPage #details { layout: grid; grid-size: 1; grid-rows: 9; height: 18; }
    ReasonPage #details Table { height: 8; }
    ReasonPage #slow { height: 6; }
    ReasonPage #polling, ReasonPage #polling-title, ReasonPage #dropped { display: none; }
    ReasonPage #polling.-on { display: block; height: 6; }
    ReasonPage #polling-title.-on { display: block; }
    ReasonPage #dropped.-on { display: block; height: auto; padding: 0 1; color: $warning; }
    ReasonPage #unrecorded { display: none; padding: 0 1; color: $text-muted; }
    ReasonPage.-recorded #unrecorded { display: block; }
    ReasonPage.-recorded #details, ReasonPage.-recorded #slow, ReasonPage.-recorded #slow-title { display: none; }
    ReasonPage #charts { layout: grid; grid-size: 1; grid-rows: 12; height: 48; }
    ReasonPage #who { height: 10; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Facts, four charts, and the vCPUs."""
        yield Static(id="facts")
        yield Static(id="polling-title", classes="title")
        yield Table(id="polling", empty=_WAIT)
        with Container(id="details"):
            for name, title in (("touched", "What they touched"), ("code", "Guest code that made them")):
                with Vertical():
                    yield Static(title, classes="title")
                    yield Table(id=name, empty=_WAIT)
        yield Static("What it means", classes="title")
        yield Static(id="meaning")
        yield Static("What they touched, guest code and slow exits are not in recordings.", id="unrecorded")
        yield Static("The slowest of the last interval", classes="title", id="slow-title")
        yield Table(id="slow", empty=_WAIT)
        yield Static(id="dropped")
        with Container(id="charts"):
            for name in ("hist", "heat", "rate", "p99"):
                with Vertical():
                    yield Static(classes="title", id=f"{name}-title")
                    yield Chart(id=name)
        yield Static("Which vCPUs have it", classes="title")
        yield Table(id="who", empty="no vCPU in this interval")

    def show(self, page: Page) -> None:
        """Fill the page."""
        self.query_one("#facts", Static).update(Text(page.facts))
        self.query_one("#meaning", Static).update(Text(page.meaning))
        self._title("hist", "Durations of the exits, log scale")
        self._title("heat", f"Durations over time, {page.span} to now, denser is more")
        self._title("rate", "Exits a second")
        self._title("p99", "p99 of the duration")
        if any(page.hist):
            self._chart("hist").show(
                lambda w, h: chart.histogram(page.hist, page.marks, page.decades, w, h, units.number)
            )
        else:
            self._chart("hist").show(lambda w, h: Text("no exit in this interval", "dim"))
        self._chart("heat").show(lambda w, h: chart.heatmap(page.heat, page.octaves, w, h))
        self._chart("rate").show(lambda w, h: chart.line(page.rates, w, h, units.rate, page.span, SKY))
        if any(value is not None for value in page.p99s):
            self._chart("p99").show(lambda w, h: chart.line(page.p99s, w, h, units.duration, page.span, VERMILION))
        else:
            self._chart("p99").show(lambda w, h: Text("no exit in the intervals kept", "dim"))
        self.query_one("#who", Table).show(*page.who)

    @property
    def details_width(self) -> int:
        """Of a table of what was touched: two are side by side where the screen is wide."""
        return self.query_one("#touched").size.width or self.size.width

    def show_details(self, touched: Rows, code: Rows, slow: Rows, polling: Rows | None, dropped: str) -> None:
        """Fill the tables of what is known only while somebody looks. polling: None where it does not matter."""
        for name, rows, empty in (
            ("touched", touched, "nothing that KVM has a tracepoint for"),
            ("code", code, "no exit"),
            ("slow", slow, "none"),
        ):
            table = self.query_one(f"#{name}", Table)
            table.empty = empty
            table.show(*rows)
        self._polling(polling is not None)
        if polling is not None:
            self.query_one("#polling", Table).show(*polling)
        self.query_one("#dropped", Static).set_class(bool(dropped), "-on")
        self.query_one("#dropped", Static).update(Text(dropped))

    def clear_details(self) -> None:
        """Another reason: what is there is not its own."""
        for name in ("touched", "code", "slow", "polling"):
            table = self.query_one(f"#{name}", Table)
            table.empty = _WAIT
            table.show((), ())
        self._polling(False)

    def _polling(self, shown: bool) -> None:
        self.query_one("#polling-title", Static).update(Text("Halt polling of each vCPU"))
        for name in ("polling", "polling-title"):
            self.query_one(f"#{name}").set_class(shown, "-on")

    def _chart(self, id: str) -> Chart:
        return self.query_one(f"#{id}", Chart)

    def _title(self, id: str, text: str) -> None:
        self.query_one(f"#{id}-title", Static).update(Text(text, no_wrap=True), layout=False)
