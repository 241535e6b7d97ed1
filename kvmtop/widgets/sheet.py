"""A text over the dashboard, in lines that can be read, that scrolls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

WIDEST = 100  # characters of a line: longer ones are hard to read


class Sheet(ModalScreen[None]):
    """What is on it says a subclass, which binds the key that opened it, too."""

    DEFAULT_CSS = """
    Sheet { align: center middle; }
    Sheet > VerticalScroll {
        width: 100%; max-width: 106; height: 100%; background: $surface; border: round $primary; padding: 0 1;
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
    }
    Sheet Static { width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close"),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def contents(self) -> Iterable[Widget]:
        """From top to bottom; the first is as wide as a line."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """All of it in one box."""
        with VerticalScroll() as box:
            box.border_title = self._title
            box.border_subtitle = "esc closes"
            yield from self.contents()

    @property
    def room(self) -> int:
        """Characters of a line."""
        return min(self.query(Static).first().size.width or WIDEST, WIDEST)

    def action_scroll(self, by: int) -> None:
        """A line up or down."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_dismiss(self, result: None = None) -> None:
        """Back to where one was."""
        self.dismiss(result)
