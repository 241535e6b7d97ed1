"""What is drawn cell by cell, again only when what it shows, its size or the theme has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from . import theme
from .theme import Palette

Runs = list[tuple[str, Style]]  # a line: texts with their styles


def runs(chars: Iterable[str], looks: Iterable[Style]) -> Runs:
    """Cells as a line; neighbours of one style as one."""
    found: Runs = []
    text, last = "", None
    for char, look in zip(chars, looks, strict=True):
        if look is last:
            text += char
        else:
            if last is not None:
                found.append((text, last))
            text, last = char, look
    return [*found, (text, last)] if last is not None else found


def written(ground: str, words: Sequence[tuple[int, str, Style]], line: Style) -> Runs:
    """A line with words over it: (where, what, how)."""
    chars, looks = list(ground), [line] * len(ground)
    for at, text, look in words:
        for place, char in enumerate(text, at):
            if 0 <= place < len(chars):
                chars[place], looks[place] = char, look
    return runs(chars, looks)


class Canvas(Widget):
    """Whoever subclasses it says how it is drawn, and calls `redraw` when that changes."""

    DEFAULT_CSS = "Canvas { height: 1fr; width: 1fr; background: $background; color: $foreground; }"
    _strips: list[Strip] | None = None
    _blank = Strip.blank(0)

    def draw(self, width: int, height: int, colours: Palette) -> Sequence[Runs]:
        """Its lines, from the top."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Something else is to be seen."""
        self._strips = None
        self.refresh()

    def on_resize(self) -> None:
        """As large as there is room for."""
        self.redraw()

    def notify_style_update(self) -> None:
        """Another theme."""
        super().notify_style_update()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        """See Textual's line API."""
        if self._strips is None:  # looked up once, not for each line: size, style, and what styles come to
            (width, height), base = self.size, self.rich_style
            lines = self.draw(width, height, theme.palette(self.app))
            few = {id(look): look for line in lines for _, look in line}
            looks = {key: base + look for key, look in few.items()}
            strips = (Strip([Segment(text, looks[id(look)]) for text, look in line]) for line in lines)
            self._strips = [strip.adjust_cell_length(width, base) for strip in strips]
            self._blank = Strip.blank(width, base)
        return self._strips[y] if y < len(self._strips) else self._blank
