"""What costs time, why, and what to try: a screen over the dashboard, which fills itself within some seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

WIDEST = 100  # characters of a line: longer ones are hard to read


class DiagnosisScreen(ModalScreen[None]):
    """A line that says what is looked at now; then what came of it."""

    DEFAULT_CSS = """
    DiagnosisScreen { align: center middle; }
    DiagnosisScreen > VerticalScroll {
        width: 100%; max-width: 106; height: 100%; background: $surface; border: round $primary; padding: 0 1;
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
    }
    DiagnosisScreen Static { width: 100%; }
    DiagnosisScreen #looks { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,D", "dismiss", "Close"),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, whose: str) -> None:
        """whose: the VM's name, or that it is all of them."""
        super().__init__()
        self._whose = whose

    def compose(self) -> ComposeResult:
        """Both in one box."""
        with VerticalScroll() as box:
            box.border_title = f"Diagnosis of {self._whose}"
            box.border_subtitle = "esc closes"
            yield Static("starting …", id="looks", markup=False)
            yield Static(id="causes", markup=False)

    @property
    def room(self) -> int:
        """Characters of a line."""
        return min(self.query_one("#looks").size.width or WIDEST, WIDEST)

    def progress(self, words: str) -> None:
        """What is looked at now."""
        self.query_one("#looks", Static).update(words)

    def show(self, lines: Sequence[str]) -> None:
        """What came of it."""
        self.query_one("#looks", Static).display = False
        self.query_one("#causes", Static).update(_dressed(lines))
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, by: int) -> None:
        """A line up or down."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_dismiss(self, result: None = None) -> None:
        """Back to where one was."""
        self.dismiss(result)


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
