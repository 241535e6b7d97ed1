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


class Title(Line):
    """Words at its left end, and at its right end others, where there is room for them."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left, self._right = Text(), Text()

    def show_both(self, left: Text, right: Text) -> None:
        """Other words, or the same."""
        self._left, self._right = left, right
        self.on_resize()

    def on_resize(self) -> None:
        """The gap between them follows the width, which a scroll bar may take from once all is laid out."""
        gap = self.size.width - self._left.cell_len - self._right.cell_len
        self.show(Text.assemble(self._left, " " * gap, self._right) if gap > 0 else self._left)
