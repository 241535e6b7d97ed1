"""Charts as text. The only module that knows plotext, whose one global figure is filled anew each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import plotext
from rich.text import Text
from textual.widgets import Static

from ..tables.rows import Ticks
from .theme import ORANGE, SKY, VERMILION

# Else it clamps its size to the terminal that it believes to be in.
plotext.terminal.limit(False, False)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_ESCAPE = re.compile(r"(\x1b\[[0-9;]*m)")
_FOREGROUND = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)m")
_GREY = plotext.pixel((128, 128, 128), "default")


def _begin(
    width: int, height: int, x: Ticks, y: Ticks, x_range: tuple[float, float], y_range: tuple[float, float]
) -> None:
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.canvas("default")
    figure.axes(True, pixel=_GREY)
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    for axis, side, ticks, limits in (("x", "lower", x, x_range), ("y", "left", y, y_range)):
        ruler = figure.ruler(axis, side)
        ruler.pixel(_GREY)
        ruler.lim(*limits)
        ruler.ticks(list(ticks.positions), list(ticks.labels))


def _end() -> Text:
    text, colour = Text(no_wrap=True), ""
    for part in _ESCAPE.split(plotext.figure.build().string()):
        if part.startswith("\x1b"):  # foreground colours only: of backgrounds it knows white alone
            match = _FOREGROUND.fullmatch(part)
            colour = "#{:02x}{:02x}{:02x}".format(*map(int, match.groups())) if match else colour
            colour = "" if part == "\x1b[0m" else colour
        elif part:
            text.append(part, colour)
    return text


def _scale(top: float, unit: Callable[[float], str]) -> tuple[float, Ticks]:
    """A round upper end of an axis that starts at zero, with its ticks at nothing, half and all."""
    step = 1.0
    while step < top:
        step *= 10
    end = next(step * f for f in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if step * f >= top)
    return end, Ticks([0, end / 2, end], [unit(0), unit(end / 2), unit(end)])


def line(
    values: Sequence[float | None],
    width: int,
    height: int,
    unit: Callable[[float], str],
    span: str,
    colour: str = SKY,
) -> Text:
    """A line from zero over time, newest right; None leaves a gap. span: the left end's label."""
    known = [value for value in values if value is not None]
    top, y = _scale(max(known, default=0) or 1, unit)
    last = max(len(values) - 1, 1)
    _begin(width, height, Ticks([0, last], [span, "now"]), y, (0, last), (0, top))
    pen = plotext.marker("hd", plotext.pixel(_rgb(colour), "default"))
    run: list[tuple[int, float]] = []
    for x, value in [*enumerate(values), (0, None)]:
        if value is not None:
            run.append((x, value))
        elif run:
            signal = plotext.figure.signal([x for x, _ in run], [v for _, v in run], marker=pen)
            signal.lines()
            plotext.figure.draw(signal)
            run = []
    return _end()


def histogram(
    counts: Sequence[int],
    marks: Sequence[tuple[str, int]],
    decades: Ticks,
    width: int,
    height: int,
    unit: Callable[[float], str],
) -> Text:
    """Bars over the buckets of a log axis, with vertical marks: (label, bucket). decades: ticks in buckets."""
    top, y = _scale(max(counts, default=0) or 1, unit)
    _begin(width, height, decades, y, (-0.5, len(counts) - 0.5), (0, top))
    figure = plotext.figure
    pen = plotext.marker("hd", plotext.pixel(_rgb(ORANGE), "default"))
    for x, count in enumerate(counts):
        if count:
            figure.draw(figure.rectangle((x - 0.5, x + 0.5), (0, count), marker=pen, lines=True, fill=True))
    pen = plotext.pixel(_rgb(VERMILION), "default")
    for x in {x for _, x in marks}:
        figure.line(x, orientation="vertical", pixel=pen)
    for line, (label, x) in enumerate(marks):  # a line each: several may be close to each other
        place = "right" if x > len(counts) / 2 else "left"
        figure.draw(figure.text(x, top * (1 - 0.11 * line), plotext.colorize(f" {label} ", pen), alignment=place))
    return _end()


SHADES = " ░▒▓█"


def heatmap(columns: Sequence[Sequence[int]], labels: Sequence[str], width: int, height: int) -> Text:
    """Durations over time: a column an interval (newest right), a row an octave (longest on top).

    The darker the more exits, on a log scale, by character and not by colour alone.
    """
    merge = -(-len(labels) // max(height, 1))  # octaves in a line, where there is no room for each
    labels = labels[::merge]
    columns = [[sum(column[at : at + merge]) for at in range(0, len(column), merge)] for column in columns]
    gutter = max(map(len, labels), default=0) + 1
    columns = columns[-max(width - gutter, 1) :]
    most = max((count for column in columns for count in column), default=0)
    text = Text(no_wrap=True)
    for row in range(len(labels) - 1, -1, -1):
        text.append(f"{labels[row]:>{gutter - 1}} ", "dim")
        for column in columns:
            count = column[row]
            level = 0 if not count else 1 + min(3, int(4 * count.bit_length() / (most.bit_length() + 1)))
            text.append(SHADES[level], ORANGE)
        text.append("\n")
    text.rstrip()
    return text


class Chart(Static):
    """A chart that is drawn again when its size changes. `draw` gets width and height in cells."""

    DEFAULT_CSS = "Chart { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._draw: Callable[[int, int], Text] = lambda width, height: Text("")

    def show(self, draw: Callable[[int, int], Text]) -> None:
        """Take another chart and draw it, if there is room."""
        self._draw = draw
        self.on_resize()

    def on_resize(self) -> None:
        """Draw at the present size."""
        width, height = self.size
        if width >= 16 and height >= 4:
            self.update(self._draw(width, height), layout=False)
        elif width and height:
            self.update("", layout=False)
