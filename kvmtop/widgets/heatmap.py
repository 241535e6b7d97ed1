"""Durations over time: a column an interval (newest right), two steps of the log scale a cell, brighter where more."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from .. import units
from ..tables.rows import Ticks
from . import theme
from .canvas import Runs, runs, written
from .theme import Palette

SHADES = " ░▒▓█"  # without colour
_LEVELS = 7  # colours


def _bounds(most: int, levels: int) -> list[float]:
    """What a count is above, of each level from 1 on, by log(1 + n): how many of them it is above is its level."""
    return [math.expm1(math.log1p(most) * level / levels) for level in range(levels)]


def heatmap(
    history: Sequence[Sequence[int]],
    scale: Ticks,
    width: int,
    height: int,
    colours: Palette,
    state: str = "kernel",
    seconds: float = 1.0,
) -> list[Runs]:
    """history: exits by bucket, shortest first, an interval each, oldest first.

    scale: labels of buckets; state: whose colour it has; seconds: an interval's, for the scale of time.
    """
    gutter, rows = max(map(len, scale.labels), default=0) + 1, height - 1
    room, buckets = width - gutter, max(map(len, history), default=0)
    if rows < 1 or room < 8 or not buckets:
        return []
    each = 1 if colours.colourless else 2  # steps in a cell
    merge = -(-buckets // (each * rows))
    shown = [[sum(one[at : at + merge]) for at in range(0, buckets, merge)] for one in history[-room:]]
    steps, most = -(-buckets // merge), max(map(max, shown))
    tones = len(SHADES) - 1 if colours.colourless else _LEVELS
    bounds = _bounds(most, tones)
    levels = [[bisect_left(bounds, count) for count in one] for one in shown]
    label, indent = theme.style(colours.label), " " * (room - len(shown))
    marks = {int(at) // merge // each: text for at, text in zip(scale.positions, scale.labels, strict=True)}
    shades = ["", *theme.ramp(colours, state, _LEVELS)] if not colours.colourless else []
    lines: list[Runs] = []
    for row in range(rows - 1, -1, -1):
        head = (f"{marks.get(row, ''):>{gutter - 1}} {indent}", label)
        if row * each >= steps:
            lines.append([head])
        elif colours.colourless:
            lines.append([head, ("".join(SHADES[one[row]] for one in levels), theme.style(""))])
        else:
            pairs = [(one[2 * row], one[2 * row + 1] if 2 * row + 1 < steps else 0) for one in levels]
            chars = ("▄" if low else "▀" if high else " " for low, high in pairs)
            looks = (theme.style(shades[low] or shades[high] or "", shades[high] if low else "") for low, high in pairs)
            lines.append([head, *runs(chars, looks)])
    start = f"−{units.spoken(len(shown) * seconds * 1e9)}"
    words = [(max(min(width - len(shown), width - len(start) - 5), 0), start, label), (width - 3, "now", label)]
    return [*lines, written(" " * width, words, label)]


def legend(colours: Palette, state: str = "kernel") -> Runs:
    """What is fewer, and what more."""
    label = theme.style(colours.label)
    if colours.colourless:
        return [("fewer ", label), (SHADES[1:], theme.style("")), (" more", label)]
    shades = theme.ramp(colours, state, _LEVELS)[::2]
    return [("fewer ", label), *((" ", theme.style("", shade)) for shade in shades), (" more", label)]
