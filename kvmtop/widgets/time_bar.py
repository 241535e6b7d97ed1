"""Where time goes, as one line: guest, kernel, user, idle, waiting for a CPU."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.widgets import Static

from .. import units
from .theme import PARTS


def stacked(shares: Mapping[str, float] | None, width: int) -> Text:
    """A bar of so many cells, each part with its colour and its character; empty where nothing is known."""
    text = Text(no_wrap=True)
    if not shares or width <= 0:
        return text.append("·" * max(width, 0), "dim")
    done, drawn = 0.0, 0
    for name, (colour, character) in PARTS.items():
        done += shares.get(name, 0)
        end = min(round(done * width), width)
        text.append(character * (end - drawn), colour)
        drawn = max(drawn, end)
    return text.append(" " * (width - drawn))


def legend(shares: Mapping[str, float] | None, short: bool = False) -> Text:
    """The parts with their shares."""
    text = Text(no_wrap=True)
    for name, (colour, character) in PARTS.items():
        share = units.DASH
        if shares:
            value = shares.get(name)
            share = f"{100 * value:.0f}%" if short and value is not None else units.percent(value)
        text.append(character, colour).append(f" {name} ").append(f"{share:<{4 if short else 6}}", "bold")
    return text


class Budget(Static):
    """The bar with its legend, of the scope that is looked at."""

    DEFAULT_CSS = "Budget { height: 1; padding: 0 1; background: $surface; }"

    def show(self, shares: Mapping[str, float] | None) -> None:
        """Shares of 1 by name; None where nothing is known yet."""
        words = legend(shares, short=self.size.width < 80)
        room = self.size.width - 2 - words.cell_len - 1
        self.update(Text.assemble(stacked(shares, room), " ", words) if room >= 8 else words, layout=False)
