"""The columns of a table, to be shown, hidden and moved, the panes, or the bounds of findings; the screen behind
follows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ..tables.rows import Heading
from ..tables.text import shortened
from .choices import Choice
from .table import Selected, Table


class _List(Table):
    """A click turns a column on or off; Enter keeps all."""

    def on_click(self, event: events.Click) -> None:
        """Which row is under the mouse."""
        event.prevent_default()
        inside = event.get_content_offset(self)
        position = inside.y - 1 + self.scroll_offset.y if inside else -1
        if inside and inside.y > 0 and position < len(self.rows):
            self.move_to(position)
            self.screen.action_turn()  # type: ignore[attr-defined]


class ColumnChooser(ModalScreen[bool]):
    """One Choice at a time; whether what was chosen shall be kept."""

    DEFAULT_CSS = """
    ColumnChooser { align: right bottom; }
    ColumnChooser.-left { align: left bottom; }
    ColumnChooser > Table {
        width: 76; max-width: 100%; height: auto; max-height: 60%; margin-bottom: 1;
        border: round $accent; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o", "dismiss(False)", "Undo", show=False),
        Binding("space", "turn", "Show or hide", show=False),
        Binding("less_than_sign,comma,shift+up,K", "shift(-1)", "Left", show=False),
        Binding("greater_than_sign,full_stop,shift+down,J", "shift(1)", "Right", show=False),
        Binding("d", "usual", "Default", show=False),
        Binding("tab", "other(1)", "Next list", show=False),
        Binding("shift+tab", "other(-1)", "List before", show=False),
    ]

    def __init__(self, choices: Sequence[Choice]) -> None:
        """choices: the one to begin with first."""
        super().__init__()
        self._choices = list(choices)

    def compose(self) -> ComposeResult:
        """One list."""
        yield _List(id="columns")

    def on_mount(self) -> None:
        """It has the keys."""
        self.styles.background = "transparent"  # not what the app's style sheet says of any screen
        self.query_one(_List).focus()
        self._draw()

    def on_resize(self) -> None:
        """Other columns have room."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not self.query(_List):  # closed before the frame that this was asked for
            return
        now, other, table = self._choices[0], self._choices[1], self.query_one(_List)
        rows = now.rows()
        table.border_title = now.title
        table.border_subtitle = f"{now.keys} · d default · tab {other.name} · ↵ keep · esc undo"
        self.set_class(now.name == "VMs", "-left")
        mark = max(len(str(row.cells[0])) for row in rows)
        width = max(table.scrollable_content_region.width - 13 - mark, 1)
        columns = ("mark", "", mark), ("title", now.noun, 10), ("words", "MEANING", width)
        rows = [replace(row, cells=[*row.cells[:2], shortened(str(row.cells[2]), width)]) for row in rows]
        table.show([Heading(*column, left=True) for column in columns], rows)

    def _do(self, changed: bool) -> None:
        if changed:
            self._draw()

    def action_turn(self) -> None:
        """Show what the cursor is on, or hide it."""
        self._do(self._choices[0].turn(str(self.query_one(_List).cursor)))

    def action_shift(self, by: int) -> None:
        """Move it, or make it more or less."""
        self._do(self._choices[0].shift(str(self.query_one(_List).cursor), by))

    def action_usual(self) -> None:
        """As kvmtop has them."""
        self._choices[0].reset()
        self._draw()

    def action_other(self, by: int) -> None:
        """The next list, or the one before."""
        self._choices = [*self._choices[by:], *self._choices[:by]]
        self._draw()
        self.call_after_refresh(self._draw)  # its pane may not have been seen until now

    @on(Selected)
    def _keep(self, event: Selected) -> None:
        event.stop()
        self.dismiss(True)

    async def action_dismiss(self, result: bool | None = None) -> None:
        """As it was before."""
        for choice in self._choices if not result else ():
            choice.undo()
        self.dismiss(result)
