"""A line of text."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class Line(Static):
    """Not drawn again for nothing; of the class -on while it has some text."""

    def __init__(self, *, id: str | None = None, classes: str | None = None, grows: bool = False) -> None:
        """grows: its text may have any number of lines, which changes the layout."""
        super().__init__(id=id, classes=classes)
        self._text, self._grows = Text(), grows

    def show(self, text: Text) -> None:
        """Another text, or the same."""
        self.set_class(bool(text), "-on")
        if text != self._text:
            self._text = text
            self.update(text, layout=self._grows)
