"""A whole recording as one line: how many exits when, and where one is in it. A click goes there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Static

from .. import units
from . import theme


@dataclass
class Sought(Message):
    """A place was clicked: the share of the run, 0 to 1."""

    share: float


class Timeline(Static):
    """Bars from zero, the place marked, with the time there and the whole length beside them."""

    DEFAULT_CSS = "Timeline { height: 1; padding: 0 1; background: $panel; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rates: Callable[[int], list[float]] = lambda width: [0.0] * width
        self._share, self._left, self._right = 0.0, "", ""
        self._marks: frozenset[float] = frozenset()
        self._bars = ""
        self._shown: Text | None = None

    def load(self, rates: Callable[[int], list[float]]) -> None:
        """rates: exits a second in so many equal parts of the run."""
        self._rates, self._bars = rates, ""

    def mark(self, shares: Collection[float], right: str) -> None:
        """Where something stands out, 0 to 1; and the words at the right end."""
        self._marks = frozenset(shares)
        self.show(self._share, self._left, right)

    def show(self, share: float, left: str, right: str) -> None:
        """The place (0 to 1), and the words at both ends."""
        self._share, self._left, self._right = share, left, right
        width = self.size.width - 2 - len(left) - len(right) - 2
        if width < 8:
            text = Text(f"{left} / {right}", no_wrap=True)
        else:
            if len(self._bars) != width:
                self._bars = units.sparkline(self._rates(2 * width), width)
            at = min(int(share * width), width - 1)
            past, now, coming = self._bars[:at], self._bars[at], self._bars[at + 1 :]
            colours = theme.palette(self.app)
            bars = Text.assemble((past, colours.trend_high), (now, "reverse bold"), (coming, colours.label))
            for one in self._marks:
                mark = min(int(one * width), width - 1)
                bars.stylize(theme.style(colours.tone["wait"], "", "bold underline"), mark, mark + 1)
            text = Text.assemble(f"{left} ", bars, f" {right}", no_wrap=True)
        if text != self._shown:
            self._shown = text
            self.update(text, layout=False)

    def on_resize(self) -> None:
        """As wide as there is room."""
        self.show(self._share, self._left, self._right)

    def on_click(self, event: events.Click) -> None:
        """Which part of the run is under the mouse."""
        if self._bars:
            x = event.x - 1 - len(self._left) - 1
            self.post_message(Sought(min(max((x + 0.5) / len(self._bars), 0.0), 1.0)))
