"""What costs time, why, and what to try: a screen over the dashboard, which fills itself within some seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from .sheet import Sheet


class DiagnosisScreen(Sheet):
    """A line that says what is looked at now; then what came of it."""

    DEFAULT_CSS = "DiagnosisScreen #looks { color: $text-muted; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("D", "dismiss", "Close", show=False)]

    def __init__(self, whose: str) -> None:
        """whose: the VM's name, or that it is all of them."""
        super().__init__(f"Diagnosis of {whose}")

    def contents(self) -> Iterable[Widget]:
        """Both."""
        yield Static("starting …", id="looks", markup=False)
        yield Static(id="causes", markup=False)

    def progress(self, words: str) -> None:
        """What is looked at now."""
        self.query_one("#looks", Static).update(words)

    def show(self, lines: Sequence[str]) -> None:
        """What came of it."""
        self.query_one("#looks", Static).display = False
        self.query_one("#causes", Static).update(_dressed(lines))
        self.query_one(VerticalScroll).focus()


def _dressed(lines: Sequence[str]) -> Text:
    """A cause's sentence stands out, and the names of its fields do not."""
    text, sentence = Text(), False
    for line in lines:
        sentence = bool(re.match(r"\d+\. ", line)) or (sentence and line[:1] not in ("", " "))
        found = Text(line, "bold" if sentence else "")
        if line.startswith("   "):
            found.stylize("dim", 0, len(re.match(r" *\w*(?: \w+)?(?=  )| *", line)[0]))  # type: ignore[index]
        text.append_text(found).append("\n")
    return text
