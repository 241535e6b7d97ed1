"""A reason's page: how long its exits take, how that changes, and who has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.widgets import Static

from .. import units
from . import chart
from .chart import Chart, Ticks
from .palette import SKY, VERMILION
from .table import Heading, Lazy, Row, Table

_WHO = (
    Heading("vm", "VM", 14, True),
    Heading("vcpu", "VCPU", 8, True),
    Heading("rate", "EXITS/S", 7),
    Heading("time", "TIME/S", 7),
    Heading("share", "TIME%", 6),
)


class ReasonPage(VerticalScroll):
    """Scrolls where the screen is small."""

    DEFAULT_CSS = """
    ReasonPage { scrollbar-size-vertical: 1; }
    ReasonPage .title { height: 1; text-style: bold; color: $text-muted; padding: 0 1; }
    ReasonPage #facts { height: auto; padding: 0 1; }
    ReasonPage #meaning { height: auto; padding: 0 1; color: $text-muted; }
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
        yield Static(id="meaning")
        with Container(id="charts"):
            for name in ("hist", "heat", "rate", "p99"):
                with Vertical():
                    yield Static(classes="title", id=f"{name}-title")
                    yield Chart(id=name)
        yield Static("Which vCPUs have it", classes="title")
        yield Table(id="who", empty="no vCPU in this interval")

    def show(self, *, facts: str, meaning: str, hist: Sequence[int], marks: Sequence[tuple[str, int]], decades: Ticks,
             heat: Sequence[Sequence[int]], octaves: Sequence[str], rates: Sequence[float | None],
             p99s: Sequence[float | None], span: str, who: Lazy[tuple[Any, list[str]]]) -> None:  # fmt: skip
        """Fill the page; shapes as in view.Page."""
        self.query_one("#facts", Static).update(Text(facts))
        self.query_one("#meaning", Static).update(Text(meaning))
        self._title("hist", "Durations of the exits, log scale")
        self._title("heat", f"Durations over time, {span} to now, denser is more")
        self._title("rate", "Exits a second")
        self._title("p99", "p99 of the duration")
        if any(hist):
            self._chart("hist").show(lambda w, h: chart.histogram(hist, marks, decades, w, h, units.number))
        else:
            self._chart("hist").show(lambda w, h: Text("no exit in this interval", "dim"))
        self._chart("heat").show(lambda w, h: chart.heatmap(heat, octaves, w, h))
        self._chart("rate").show(lambda w, h: chart.line(rates, w, h, units.rate, span, SKY))
        if any(value is not None for value in p99s):
            self._chart("p99").show(lambda w, h: chart.line(p99s, w, h, units.duration, span, VERMILION))
        else:
            self._chart("p99").show(lambda w, h: Text("no exit in the intervals kept", "dim"))
        self.query_one("#who", Table).show(_WHO, Lazy(who.keys, lambda at: Row(*who[at])))

    def _chart(self, id: str) -> Chart:
        return self.query_one(f"#{id}", Chart)

    def _title(self, id: str, text: str) -> None:
        self.query_one(f"#{id}-title", Static).update(Text(text, no_wrap=True), layout=False)
