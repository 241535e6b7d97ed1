"""A frame with words in its upper border: the title, and a hint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from .theme import palette, style


def between(left: Text, right: Text, width: int) -> Text:
    """Left and right with a line between them; where it is narrow, the right goes first."""
    room = width - left.cell_len - right.cell_len - 2
    if right and room > 0:
        return Text.assemble(left, " ", "─" * room, " ", right)
    left.truncate(width, overflow="ellipsis")
    return left


@dataclass
class TabClicked(Message):
    """The name of a tab in the border was clicked."""

    pane: str


class Pane(Container):
    """What is in it has the width less four. The border has the accent while something in it has the keys."""

    DEFAULT_CSS = """
    Pane {
        border: round $line; border-title-color: $line; padding: 0 1; height: 1fr; background: $background;
        &:focus-within { border: round $accent; border-title-color: $accent; }
    }
    """

    def __init__(self, *children: Widget, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(*children, id=id, classes=classes)
        self._title, self._hint = Text(), Text()
        self._tabs: Mapping[str, str] = {}
        self._tab = ""
        self._drawn: object = None

    def label(self, title: str | Text, hint: str | Text = "") -> None:
        """The words, plain or styled."""
        self._title, self._hint = (text if isinstance(text, Text) else Text(text) for text in (title, hint))
        self._draw()

    def tabs(self, titles: Mapping[str, str], shown: str) -> None:
        """Panes of which one is seen, in place of the title; none: the title."""
        self._tabs, self._tab = titles, shown
        self._draw()

    def _draw(self) -> None:
        width, keys = self.outer_size.width - 6, self.has_focus_within  # three cells at each end are the border's
        state = (width, keys, self._title, self._hint, tuple(self._tabs), self._tab)
        if width < 4 or state == self._drawn:
            return
        self._drawn, colours = state, palette(self.app)
        title = self._tabbed() if self._tabs else self._title.copy()
        if not self._tabs:
            title.stylize_before(style(colours.accent, "", "bold") if keys else style(colours.text))
        hint = self._hint.copy()
        hint.stylize_before(style(colours.label))  # or it has the border's colour, which is made to recede
        self.border_title = Content.from_rich_text(between(title, hint, width))  # never as markup

    def _tabbed(self) -> Text:
        text, colours = Text(), palette(self.app)
        for number, (pane, title) in enumerate(self._tabs.items(), 1):
            text.append(" ─ " if number > 1 else "")
            text.append(f"{number} ", style(colours.accent, "", "bold"))
            here = style(colours.accent, "", "bold underline")
            text.append(title, here if pane == self._tab else style(colours.label))
        return text

    def on_resize(self) -> None:
        """The line between the words follows the width."""
        self._draw()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The title shows who has the keys."""
        self._draw()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """The same."""
        self._draw()

    def notify_style_update(self) -> None:
        """Another theme."""
        super().notify_style_update()
        self._drawn = None
        if self.is_mounted:
            self._draw()

    def on_click(self, event: events.Click) -> None:
        """A tab."""
        if event.widget is not self or event.get_content_offset(self) is not None:
            return
        end = 3
        for number, (pane, title) in enumerate(self._tabs.items(), 1):
            end += len(f"{number} {title}") + (3 if number > 1 else 0)
            if event.x < end:
                self.post_message(TabClicked(pane))
                return
