"""Lines of links: a key goes from one to the next, Enter and the mouse go where one leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from ..tables.rows import Link
from .theme import Palette, palette, style

_STYLES = {  # role in the palette, attributes
    "strong": ("strong", "bold underline"),
    "link": ("text", "underline"),
    "quiet": ("label", ""),
    "plain": ("text", ""),
    "key": ("accent", "bold"),
    "mark": ("text", ""),
}


@dataclass
class Followed(Message):
    """A link was followed."""

    target: int


class Links(Static, can_focus=True):
    """Pieces of text, some of which lead somewhere; of the class -on while there are any."""

    DEFAULT_CSS = "Links { height: auto; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "follow", "Go there", show=False)]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Sequence[Link]] = ()
        self._seen: object = None

    def show(self, lines: Sequence[Sequence[Link]]) -> None:
        """Other pieces, or the same."""
        self.set_class(bool(lines), "-on")
        colours = palette(self.app)
        if (lines, colours) != self._seen:
            layout = len(lines) != len(self._lines)
            self._lines, self._seen = lines, (lines, colours)
            parts = (((part.text, _style(part, colours)) for part in line) for line in lines)
            self.update(Text("\n", no_wrap=True).join(Text.assemble(*line) for line in parts), layout=layout)

    def action_follow(self) -> None:
        """The first, which is told in full."""
        self._follow(next((part.target for line in self._lines for part in line if part.target is not None), None))

    def on_click(self, event: events.Click) -> None:
        """The one under the mouse."""
        end = self.styles.padding.left
        for part in self._lines[event.y] if event.y < len(self._lines) else ():
            end += cell_len(part.text)
            if event.x < end:
                self._follow(part.target)
                return

    def _follow(self, target: int | None) -> None:
        if target is not None:
            self.post_message(Followed(target))


def _style(part: Link, colours: Palette) -> Style:
    colour, attributes = _STYLES[part.style]
    tone = colours.tone.get(part.state, "") if part.style == "mark" else getattr(colours, colour)
    return style(tone, "", attributes)
