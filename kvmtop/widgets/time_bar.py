"""Where time goes, as one line: a bar of the states; and their legend as another, or beside it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.widgets import Static

from .. import units
from ..tables.states import GLYPHS, UNKNOWN
from .theme import Palette, palette, style

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(shares: Mapping[str, float] | None, width: int, colours: Palette) -> Text:
    """In eighths of cells; what nothing is known of is empty. Without colour in whole cells, each of one state."""
    ends, done = [], 0.0
    for state in GLYPHS:
        done += max((shares or {}).get(state, 0.0), 0.0)
        ends.append((min(round(8 * width * done), 8 * width), state))
    ends.append((8 * width, UNKNOWN))
    fills = {**colours.fill, UNKNOWN: colours.ground}
    text = Text(no_wrap=True)
    for cell in range(width):
        end, state = next(one for one in ends if one[0] > 8 * cell)
        after = next((state for further, state in ends if further > end), UNKNOWN)
        part = min(end - 8 * cell, 8)
        if colours.colourless:
            state = state if part >= 4 else after
            text.append(GLYPHS.get(state, units.DASH), style(fills[state]))
        else:
            text.append(_EIGHTHS[part], style(fills[state], fills[after]))
    return text


def legend(shares: Mapping[str, float] | None, width: int, colours: Palette) -> Text:
    """What the colours are, and the shares; where it is narrow, the smallest are left out."""
    known: dict[str, float | None] = {**dict.fromkeys(GLYPHS), **(shares or {})}
    known = {state: known[state] for state in GLYPHS if not shares or known[state] is not None}
    items = {state: _item(state, share, colours) for state, share in known.items()}
    while items and sum(item.cell_len + 1 for item in items.values()) - 1 > width:
        del items[min(reversed(items), key=lambda state: known[state] or 0.0)]
    return Text(" ", no_wrap=True).join(items.values())


def _item(state: str, share: float | None, colours: Palette) -> Text:
    figure = units.DASH if share is None else f"{100 * share:.0f}"
    return Text.assemble(
        (GLYPHS[state] if colours.colourless else "■", style(colours.fill[state])),
        (f"{state} ", style(colours.label)),
        (figure, style(colours.strong, "", "bold")),
        ("" if share is None else "%", style(colours.label)),
    )


class Budget(Static):
    """The bar over its legend, of the scope that is looked at; in one line the bar alone."""

    DEFAULT_CSS = "Budget { height: 2; padding: 0 1; }"

    def show(self, shares: Mapping[str, float] | None) -> None:
        """Shares of 1 by name; None where nothing is known yet."""
        width, colours = self.size.width, palette(self.app)
        self.update(Text("\n").join([bar(shares, width, colours), legend(shares, width, colours)]), layout=False)
