"""A reason's page: its figures and meaning, what its exits touched, how long they last, who has them, the slowest."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Static

from ..tables.page import KernelTime, Page
from ..tables.rows import Rows
from .chart import Chart
from .icicle import Icicle
from .line import Line, Title
from .pane import Pane
from .reason_brief import durations
from .reason_facts import ReasonFacts
from .slow_page import NOT_LOOKED
from .table import Table
from .theme import palette, style

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TURN = 0.125  # seconds
_LONG = 3  # seconds of waiting from which on they are counted
_WAIT = "probes are being attached, which takes half a second as a rule"
_KERNEL = "Where in the kernel they spend it"
_CODE, _SAMPLED = "Guest code that made them", "Where the guest is, by samples"
_EMPTY = {"touched": "nothing that KVM has a tracepoint for", "code": "no exit", "slow": "none", "polling": "none"}


class ReasonPage(VerticalScroll):
    """What needs no probe is there at once, and what needs one has its room. Scrolls where the screen is small."""

    DEFAULT_CSS = """
    ReasonPage { scrollbar-size-vertical: 1; }
    ReasonPage #facts-pane { height: 8; }
    ReasonPage #facts { width: 6fr; padding-right: 3; }
    ReasonPage #meaning { width: 5fr; height: 1fr; }
    ReasonPage .row { height: auto; }
    ReasonPage #touched-pane, ReasonPage #code-pane { height: 12; }
    ReasonPage #durations { height: 13; }
    ReasonPage #durations .part { padding-right: 3; }
    ReasonPage #durations .whose { padding-right: 0; }
    ReasonPage #last { height: 1fr; min-height: 8; }
    ReasonPage #slow-pane, ReasonPage #stacks-pane { height: 1fr; }
    ReasonPage #polling { display: none; }
    ReasonPage.-halts #polling { display: block; }
    ReasonPage.-halts #touched { display: none; }
    ReasonPage #dropped { display: none; height: auto; padding: 0 2; color: $warning; }
    ReasonPage #dropped.-on { display: block; }
    ReasonPage #unrecorded { display: none; padding: 0 2; color: $text-muted; }
    ReasonPage.-recorded #unrecorded { display: block; }
    ReasonPage.-recorded #details, ReasonPage.-recorded #last { display: none; }
    ReasonPage.-recorded #durations { height: 1fr; min-height: 13; max-height: 30; }
    ReasonPage .part Line { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._turning: Timer | None = None
        self._turn = 0
        self._waits = False
        self.recorded = False

    def compose(self) -> ComposeResult:
        """From what matters most to where to look next."""
        with Pane(id="facts-pane"):
            yield ReasonFacts()
        with Horizontal(id="details", classes="row"):
            with Pane(id="touched-pane"):
                yield Table(id="touched")
                yield Table(id="polling")
            with Pane(id="code-pane"):
                yield Table(id="code")
        yield Line(id="dropped", grows=True)
        yield Static(f"What they touched, guest code, slow exits, stacks: {NOT_LOOKED}.", id="unrecorded")
        with Pane(id="durations"), Horizontal():
            for name in ("hist", "heat"):
                with Vertical(classes="part"):
                    yield Title(id=f"{name}-title")
                    yield Chart(id=name)
            with Vertical(classes="part whose"):
                yield Static("Which vCPUs", classes="head")
                yield Table(id="who", empty="no vCPU in this interval")
        with Horizontal(id="last"):
            with Pane(id="slow-pane"):
                yield Table(id="slow")
            with Pane(id="stacks-pane"):
                yield Icicle(id="stacks")

    def on_mount(self) -> None:
        """The spinner turns while something is waited for."""
        self._turning = self.set_interval(_TURN, self._spin, pause=True)
        for pane, title in (
            ("code", _CODE),
            ("durations", "How long they last"),
        ):
            self.query_one(f"#{pane}-pane" if pane == "code" else f"#{pane}", Pane).label(title)

    def show(self, page: Page) -> None:
        """What needs no probe."""
        colours = palette(self.app)
        name = Text(page.name, style(colours.strong, "", "bold"))
        title = name.append(f" · {page.title}" if page.title else "", style(colours.label, "", "not bold"))
        self.query_one("#facts-pane", Pane).label(title)
        self.query_one(ReasonFacts).show(page)
        durations(self, page, "hist", "heat")
        self.query_one("#who", Table).show(*page.who)

    @property
    def details_width(self) -> int:
        """Of a table of what was touched: two are side by side where the screen is wide."""
        return self._room("touched") or self._room("code") or self.size.width

    @property
    def who_width(self) -> int:
        """Of the table of vCPUs."""
        return self._room("who") or 60

    @property
    def slow_width(self) -> int:
        """Of the table of slow exits."""
        return self._room("slow") or self.size.width - 5

    def _room(self, table: str) -> int:
        return self.query_one(f"#{table}", Table).room

    def show_details(
        self, touched: Rows, code: Rows, slow: Rows, polling: Rows | None, dropped: str, sampled: bool = False
    ) -> None:
        """What is known only while somebody looks. polling: None where it does not matter; dropped: what is missing;
        sampled: the code is where the guest happened to be."""
        self._wait(False)
        self.remove_class("-recorded")
        self.set_class(polling is not None, "-halts")
        for name, rows in (("touched", touched), ("code", code), ("slow", slow), ("polling", polling)):
            table = self.query_one(f"#{name}", Table)
            table.empty = _EMPTY[name]
            table.show(*(rows or ((), ())))
        self.query_one("#code-pane", Pane).label(_SAMPLED if sampled else _CODE)
        self.query_one("#dropped", Line).show(Text(dropped))
        self._titles("" if self.recorded else "probes are attached while this page is open")

    def not_looked(self, stacks: bool) -> None:
        """Nobody did when it was recorded, but for the stacks."""
        self.set_class(not stacks, "-recorded")
        for name in _EMPTY:
            table = self.query_one(f"#{name}", Table)
            table.empty = NOT_LOOKED
            table.show((), ())
        self.query_one("#dropped", Line).show(Text())
        self._titles("")

    def show_stacks(self, time: KernelTime) -> None:
        """Where in the kernel their time goes; known only while somebody looks."""
        self.query_one(Icicle).show(time)
        self.query_one("#stacks-pane", Pane).label(_KERNEL, self._quiet(time.hint))

    def no_stacks(self, why: str) -> None:
        """They cannot be had, or not yet."""
        self.query_one(Icicle).say(why)
        self.query_one("#stacks-pane", Pane).label(_KERNEL, Text())

    def clear_details(self) -> None:
        """Another reason: what is there is not its own."""
        for name in _EMPTY:
            table = self.query_one(f"#{name}", Table)
            table.empty = ""
            table.show((), ())
        self.query_one("#dropped", Line).show(Text())
        self.remove_class("-halts")
        self.no_stacks("")
        self._wait(not self.recorded)
        self._titles("")

    def _titles(self, hint: str) -> None:
        halts = self.has_class("-halts")
        touched = self.query_one("#touched-pane", Pane)
        touched.label("Halt polling of each vCPU" if halts else "What they touched", self._quiet(hint))
        self.query_one("#slow-pane", Pane).label("Slowest exits", self._quiet("of the last interval"))

    def _quiet(self, text: str) -> Text:
        return Text(text, style(palette(self.app).label))

    def _wait(self, on: bool) -> None:
        if on and not self._waits:
            self._turn = 0
        self._waits = on
        if self._turning:
            self._turning.resume() if on else self._turning.pause()
        if on:
            self._spin()

    def _spin(self) -> None:
        """What is waited for, once, where it will be."""
        if self._waits and self.display:
            self._turn += 1
            touched = self.query_one("#touched", Table)
            so_far = int(self._turn * _TURN)
            long = f" ({so_far} s so far)" if so_far >= _LONG else ""
            touched.empty = f"{_SPINNER[self._turn % len(_SPINNER)]} {_WAIT}{long}"
            touched.refresh()
