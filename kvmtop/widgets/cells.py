"""The cells of a table's row, drawn: figures with their units, trends, bars, and words in the tone of a state."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from ..tables.rows import Heading, Runs
from ..tables.states import GLYPHS, UNKNOWN
from .theme import Palette, style

_FIGURE = re.compile(r"( *[-−+]?[\d.]+)([^\d.\s]{1,4}(?:/s)?)")


def fit(text: str, width: int, left: bool) -> str:
    """Exactly so many terminal cells, also of wide characters; what is cut off ends in …"""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" if width else ""
    return text + " " * (width - length) if left else " " * (width - length) + text


@lru_cache(8192)
def parts(cell: str) -> tuple[str, str]:
    """A figure and its unit; of what is none all, and nothing."""
    found = _FIGURE.fullmatch(cell)
    return (found[1], found[2]) if found else (cell, "")


@lru_cache(4096)
def dots(trend: str) -> list[tuple[str, bool]]:
    """A trend's characters, whether they have more than the two lowest rows of dots, neighbours together."""
    return [("".join(run), high) for high, run in groupby(trend, lambda char: ord(char) - 0x2800 & 0x1B > 0)]


def pieces(cell: Runs, heading: Heading, base: Style, plain: Style, colours: Palette) -> list[Segment]:
    """A bar, or words in the tones of the states that they are about."""
    found, room = [], heading.width
    for text, state in cell:
        text = fit(text, min(cell_len(text), room), True)
        room -= cell_len(text)
        if state == UNKNOWN:
            found.append(Segment(text, plain))
        elif text.strip(GLYPHS[state]):
            found.append(Segment(text, base + style(colours.tone[state])))
        elif colours.colourless:
            found.append(Segment(text, base + style(colours.fill[state], "", "not reverse")))
        else:
            found.append(Segment("▆" * len(text), base + style(colours.fill[state])))
    return [*found, Segment(" " * room, plain)] if heading.left else [Segment(" " * room, plain), *found]
