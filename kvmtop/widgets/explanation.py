"""What a word on the screen means, as `kvmtop explain` says it: a screen over the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from .sheet import Sheet


class Explanation(Sheet):
    """Filled anew at each width."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("e", "dismiss", "Close", show=False)]

    def __init__(self, title: str, text: Callable[[int], str]) -> None:
        """text: of so many characters a line."""
        super().__init__(title)
        self._text = text

    def contents(self) -> Iterable[Widget]:
        """The text."""
        yield Static(markup=False)

    def on_resize(self) -> None:
        """Once it has its width."""
        self.call_after_refresh(lambda: self.query_one(Static).update(self._text(self.room)))
