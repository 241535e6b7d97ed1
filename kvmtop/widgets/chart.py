"""Charts as text. The only module that knows plotext, whose one global figure is filled anew each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import plotext
from rich.style import Style

from ..tables.rows import Ticks
from . import theme
from .canvas import Canvas, Runs, runs, written
from .theme import Palette

# Else it clamps its size to the terminal that it believes to be in.
plotext.terminal.limit(False, False)

Draw = Callable[[int, int, Palette], Sequence[Runs]]

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def _begin(width: int, height: int, x: Ticks) -> None:
    """Room for so many columns and rows, over the scale x."""
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height + 1)
    figure.canvas("default")
    figure.axes(False)
    nothing = Ticks([], [])
    for axis, side, ticks, cells in (("x", "lower", x, width), ("y", "left", nothing, height)):
        ruler = figure.ruler(axis, side)
        ruler.lim(-0.5, cells - 0.5)
        ruler.ticks(list(ticks.positions), list(ticks.labels))


def _points(points: Sequence[tuple[float, float]], marker: str) -> None:
    signal = plotext.figure.signal([x for x, _ in points], [y for _, y in points], marker=plotext.marker(marker))
    plotext.figure.draw(signal)


def _built() -> list[str]:
    """Its lines, without its colours: those are the theme's."""
    return _ESCAPE.sub("", str(plotext.figure.build().string())).rstrip("\n").split("\n")


def histogram(
    counts: Sequence[int],
    marks: Sequence[tuple[str, int]],
    decades: Ticks,
    width: int,
    height: int,
    colours: Palette,
    state: str = "kernel",
) -> list[Runs]:
    """Bars over the buckets of a log axis, in eighths of cells, and marks, say ("p50 197µs", bucket), over them.

    decades: ticks in buckets; state: whose colour the bars have.
    """
    merge = max(-(-len(counts) // width), 1)
    sums = [sum(counts[at : at + merge]) for at in range(0, len(counts), merge)]
    wide, rows = max(width // max(len(sums), 1), 1), height - 3  # below them the scale, above them the marks

    def cell(bucket: float) -> int:
        return min(int((bucket + 0.5) / merge * wide), width - 1)

    scale = Ticks([cell(at) for at in decades.positions], decades.labels)
    _begin(width, rows, scale)
    places = dict.fromkeys(cell(at) for _, at in marks)
    _points([(x, y) for x in places for y in range(rows)], "┊")
    most = max(*sums, 1)
    heights = [round(8 * rows * count / most) or (1 if count else 0) for count in sums for _ in range(wide)]
    for eighths, marker in enumerate(_EIGHTHS[1:], 1):
        tops = [(x, full // 8) for x, full in enumerate(heights) if eighths < 8 and full % 8 == eighths]
        whole = [(x, y) for x, full in enumerate(heights) if eighths == 8 for y in range(full // 8)]
        if tops or whole:
            _points(tops or whole, marker)
    label = theme.style(colours.label)
    looks = [theme.style(shade) for shade in theme.shades(colours, state, rows)]
    *bars, foot = _built()
    body = [
        runs(text, (look if char in _EIGHTHS[1:] else label for char in text))
        for text, look in zip(bars, reversed(looks), strict=True)
    ]
    heads = written(" " * width, [(x, "▾", theme.style(colours.text)) for x in places], label)
    return [_labels([(text, cell(at)) for text, at in marks], width, colours), heads, *body, [(foot, label)]]


def _labels(marks: Sequence[tuple[str, int]], width: int, colours: Palette) -> Runs:
    """Each over its mark, or as near to it as can be with none over another."""
    starts, free = [], 0
    gap = 2 if sum(len(text) + 2 for text, _ in marks) <= width + 2 else 1
    for text, at in marks:
        starts.append(max(at - len(text) // 2, free))
        free = starts[-1] + len(text) + gap
    limit = width
    label, strong = theme.style(colours.label), theme.style(colours.strong, attributes="bold")
    words: list[tuple[int, str, Style]] = []
    for (text, _), start in zip(reversed(marks), reversed(starts), strict=True):
        start = min(start, limit - len(text))
        limit = start - gap
        name, _, value = text.partition(" ")
        figure = value.rstrip("nµms")
        middle = start + len(name) + 1
        words += [(start, name, label), (middle, figure, strong), (middle + len(figure), value[len(figure) :], label)]
    return written(" " * width, words, label)


class Chart(Canvas):
    """A chart that is drawn again when its size changes. `draw` gets width and height in cells."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._draw: Draw = lambda width, height, colours: []

    def show(self, draw: Draw) -> None:
        """Take another chart and draw it, if there is room."""
        self._draw = draw
        self.redraw()

    def say(self, words: str) -> None:
        """Words in its place: why there is none."""
        self.show(lambda width, height, colours: [[(words, theme.style(colours.label))]])

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """See Canvas."""
        return self._draw(width, height, colours) if width >= 16 and height >= 4 else []
