"""Where time goes, as one line: a bar of the states, and their legend."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.widgets import Static

from .. import units
from ..tables.states import GLYPHS, UNKNOWN, bar
from .theme import STYLES

LEAST = 8  # characters of the bar


def _words(state: str, share: float | None, short: bool) -> tuple[float, Text]:
    """A state in the legend: its share as it is shown, and the words."""
    number = units.DASH if share is None else f"{100 * share:.0f}%" if short else units.percent(share)
    glyph, blank = (GLYPHS.get(state, units.DASH), STYLES[state]), "" if short else " "
    text = Text.assemble(" ", glyph, blank, state or "unknown", " ", (f"{number:<{3 if short else 5}}", "bold"))
    return float(number.strip("%–") or 0), text


def time_line(shares: Mapping[str, float] | None, width: int) -> Text:
    """The bar and its legend in so many characters. shares: of 1, by state; None where nothing is known yet.

    Where it is narrow, the legend leaves out first what is zero, so that the bar has a quarter of the line, then what
    is smallest, so that it has LEAST; of equal ones the last.
    """
    known: dict[str, float | None] = {**shares} if shares else dict.fromkeys(GLYPHS)
    if shares and (rest := 1 - sum(shares.values())) >= 0.0005:
        known[UNKNOWN] = rest
    legend = {state: _words(state, share, width < 110) for state, share in known.items()}
    room = width - sum(text.cell_len for _, text in legend.values())
    for state in sorted(reversed(legend), key=lambda state: legend[state][0]):
        number, text = legend[state]
        if room >= (LEAST if number else max(width // 4, LEAST)):
            break
        room += text.cell_len
        del legend[state]
    runs = ((run, STYLES[state]) for run, state in bar(shares, room))
    return Text.assemble(*runs, *(text for _, text in legend.values()), no_wrap=True)


class Budget(Static):
    """The bar with its legend, of the scope that is looked at."""

    DEFAULT_CSS = "Budget { height: 1; padding: 0 1; background: $surface; }"

    def show(self, shares: Mapping[str, float] | None) -> None:
        """Shares of 1 by name; None where nothing is known yet."""
        self.update(time_line(shares, self.size.width), layout=False)
