"""The help screen, made from the keys that are bound and the columns that exist, so that it cannot drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.table import Table as Grid
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ..tables.states import GLYPHS
from . import theme


class Help(ModalScreen[None]):
    """Keys, columns, and what the words mean."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 90%; max-width: 100; height: 90%; background: $surface; border: round $primary; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,h", "dismiss", "Close"),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(
        self,
        keys: Mapping[str, Sequence[tuple[str, str]]],
        columns: Sequence[tuple[str, str]],
        states: Mapping[str, str] = {},
        words: Sequence[tuple[str, str]] = (),
    ) -> None:
        """keys: (key, what it does), by what one wants to do; columns, words: (name, meaning); states: what a vCPU's
        times are, with their meanings."""
        super().__init__()
        self._keys, self._columns, self._states, self._words = keys, columns, states, words

    def compose(self) -> ComposeResult:
        """Lists under each other."""
        with VerticalScroll():
            for title, keys in self._keys.items():
                yield Static(Text(f"{title}\n", "bold underline"))
                yield Static(_grid(keys))
                yield Static()
            yield Static(Text("Columns\n", "bold underline"))
            yield Static(_grid(self._columns))
            if not self._states:
                return
            yield Static(Text("\nWhere a vCPU's time goes\n", "bold underline"))
            tones = theme.palette(self.app).tone
            states = [(Text(GLYPHS[one], tones[one]) + f" {one}", words) for one, words in self._states.items()]
            yield Static(_grid(states))
            yield Static(
                "\nWhat is still open counts with the time it has lasted so far. A vCPU that has not been in the guest,"
                " nor idle, for 3 s is marked STUCK, with its state and how long it has been in it; not where its whole"
                " VM stands still, which its VM's line says."
            )
            yield Static(Text("\nOther words\n", "bold underline"))
            yield Static(_grid(self._words))
            yield Static("\nkvmtop explain WORD tells what any other word means: a reason, a column, a pane, a kind …")

    def action_scroll(self, by: int) -> None:
        """A line up or down."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_dismiss(self, result: None = None) -> None:
        """Back to where one was."""
        self.dismiss(result)


def keys_of(app: App[Any], bindings: Sequence[BindingType]) -> list[tuple[str, str]]:
    """For Help: of each binding the keys as the app shows them, and what they do."""
    return [
        (" ".join(app.get_key_display(Binding(key, "", "")) for key in b.key.split(",")), b.tooltip or b.description)
        for b in bindings
        if isinstance(b, Binding)
    ]


def _grid(pairs: Sequence[tuple[str | Text, str]]) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for left, right in pairs:
        grid.add_row(Text(left, "bold") if isinstance(left, str) else left, Text(right))
    return grid
