"""Blocks, lines, braille and shades of a Textual screenshot as shapes, without gaps: as kitty, foot and WezTerm draw
them. Fonts leave hairlines between them, and DejaVu Sans Mono has no braille."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

WIDTH, HEIGHT, BASELINE, TOP = 12.2, 24.4, 20.0, 1.5  # of a cell, as Rich lays its pictures out

_TEXT = re.compile(r'<text class="([^"]*)" x="([\d.]+)" y="([\d.]+)"([^>]*)>([^<]*)</text>')
_FILL = re.compile(r"\.([\w-]+) \{ fill: (#\w+)")

# Rectangles in a cell of one by one: left, top, width, height.
Box = tuple[float, float, float, float]
_QUADRANTS = dict(zip("▖▗▘▙▚▛▜▝▞▟", ("3", "4", "1", "134", "14", "123", "124", "2", "23", "234"), strict=True))
_CORNER: dict[str, Box] = {
    "1": (0, 0, 0.5, 0.5),
    "2": (0.5, 0, 0.5, 0.5),
    "3": (0, 0.5, 0.5, 0.5),
    "4": (0.5, 0.5, 0.5, 0.5),
}
_BOXES: dict[str, list[Box]] = {
    **{chr(0x2580 + n): [(0, 1 - n / 8, 1, n / 8)] for n in range(1, 9)},
    **{chr(0x2590 - n): [(0, 0, n / 8, 1)] for n in range(1, 8)},
    **{char: [_CORNER[corner] for corner in corners] for char, corners in _QUADRANTS.items()},
    "▀": [(0, 0, 1, 0.5)],
    "▐": [(0.5, 0, 0.5, 1)],
    "■": [(0.05, 0.3, 0.9, 0.45)],
}
# Squares of a shade, three by six a cell: whether one is drawn, by its place in the whole picture.
_SHADES: dict[str, Callable[[int, int], bool]] = {
    "░": lambda x, y: x % 2 == 0 and y % 2 == 0,
    "▒": lambda x, y: (x + y) % 2 == 0,
    "▓": lambda x, y: x % 2 == 0 or y % 2 == 0,
}
# Lines in a cell of one by one, as paths.
_LINES = {
    "─": "M0 .5H1",
    "━": "M0 .5H1",
    "│": "M.5 0V1",
    "┃": "M.5 0V1",
    "┊": "M.5 .05V.2M.5 .3V.45M.5 .55V.7M.5 .8V.95",
    "╌": "M.05 .5H.4M.6 .5H.95",
    "╭": "M.5 1V.7Q.5 .5 1 .5",
    "╮": "M.5 1V.7Q.5 .5 0 .5",
    "╰": "M.5 0V.3Q.5 .5 1 .5",
    "╯": "M.5 0V.3Q.5 .5 0 .5",
    "┌": "M.5 1V.5H1",
    "┐": "M.5 1V.5H0",
    "└": "M.5 0V.5H1",
    "┘": "M.5 0V.5H0",
    "├": "M.5 0V1M.5 .5H1",
    "┤": "M.5 0V1M.5 .5H0",
    "┬": "M0 .5H1M.5 .5V1",
    "┴": "M0 .5H1M.5 .5V0",
    "┼": "M0 .5H1M.5 0V1",
    "╱": "M0 1L1 0",
    "╳": "M0 1L1 0M0 0L1 1",
}
_DOTS = ((0.28, 0.14), (0.28, 0.38), (0.28, 0.62), (0.72, 0.14), (0.72, 0.38), (0.72, 0.62), (0.28, 0.86), (0.72, 0.86))


def drawn(svg: str) -> str:
    """The same picture, with shapes in place of these characters."""
    colours = dict(_FILL.findall(svg))

    def one(match: re.Match[str]) -> str:
        name, x, y, rest, text = match.groups()
        left, top = float(x), float(y) - BASELINE + TOP
        shapes, kept = [], ""
        for number, char in enumerate(html.unescape(text)):
            shape = _shape(char, left + number * WIDTH, top, colours.get(name, "#ffffff"))
            shapes += shape
            kept += "\xa0" if shape else char
        return f'{"".join(shapes)}<text class="{name}" x="{x}" y="{y}"{rest}>{html.escape(kept)}</text>'

    return _TEXT.sub(one, svg)


def _shape(char: str, left: float, top: float, colour: str) -> list[str]:
    boxes = _shade(char, left, top) if char in _SHADES else _BOXES.get(char, ())
    if boxes:
        return [
            f'<rect x="{left + x * WIDTH:.2f}" y="{top + y * HEIGHT:.2f}" width="{w * WIDTH:.2f}"'
            f' height="{h * HEIGHT:.2f}" fill="{colour}" shape-rendering="crispEdges"/>'
            for x, y, w, h in boxes
        ]
    if char in _LINES:
        width = 0.22 if char in "━┃" else 0.1
        look = f'fill="none" stroke="{colour}" stroke-width="{width}"'
        return [
            f'<path transform="translate({left:.2f} {top:.2f}) scale({WIDTH} {HEIGHT})" d="{_LINES[char]}" {look}/>'
        ]
    dots = ord(char) - 0x2800
    return [
        f'<circle cx="{left + x * WIDTH:.2f}" cy="{top + y * HEIGHT:.2f}" r="1.6" fill="{colour}"/>'
        for bit, (x, y) in enumerate(_DOTS)
        if 0 < dots < 256 and dots >> bit & 1
    ]


def _shade(char: str, left: float, top: float) -> list[Box]:
    across, down = 3 * round(left / WIDTH), 6 * round((top - TOP) / HEIGHT)
    return [(x / 3, y / 6, 1 / 3, 1 / 6) for x in range(3) for y in range(6) if _SHADES[char](across + x, down + y)]
