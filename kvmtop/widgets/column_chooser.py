"""The columns of a table, to be shown, hidden and moved, or the panes; the screen behind follows at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ..tables.rows import Heading, Row
from .table import Selected, Table


@dataclass
class Chosen:
    """A table's columns, or the panes. words: by key, title and meaning; usual: kvmtop's choice, whose first stays."""

    table: str
    title: str
    words: Mapping[str, tuple[str, str]]
    usual: tuple[str, ...]
    shown: tuple[str, ...]  # from the left

    def __post_init__(self) -> None:
        self.order = [*self.shown, *(key for key in self.words if key not in self.shown)]  # with those that are hidden

    @property
    def asked_for(self) -> tuple[str, ...]:
        """None where it is kvmtop's choice."""
        return () if self.shown == self.usual else self.shown


Preview = Callable[[str, tuple[str, ...]], Collection[str]]  # of a table these columns; those that there is room for


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
    """Whether what was chosen shall be kept."""

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
        Binding("tab,shift+tab", "other", "Other table", show=False),
    ]

    def __init__(self, tables: Sequence[Chosen], preview: Preview) -> None:
        """tables: the one to begin with first."""
        super().__init__()
        self._tables, self._preview = list(tables), preview
        self._before = {one.table: one.asked_for for one in tables}

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
        now, table = self._tables[0], self.query_one(_List)
        room = self._preview(now.table, now.asked_for)
        table.border_title = now.title
        other = {"vms": "VMs"}.get(self._tables[1].table, self._tables[1].table)
        table.border_subtitle = f"space show · < > move · d default · tab {other} · ↵ keep · esc undo"
        self.set_class(now.table == "vms", "-left")
        rows = []
        for key in now.order:
            title, words = now.words[key]
            mark = "■" if key in room else "□" if key in now.shown else " "
            rows.append(Row(key, [mark, title, f"no room; {words}" if mark == "□" else words], dim=mark != "■"))
        width = max(table.scrollable_content_region.width - 14, 1)
        columns = (
            ("mark", "", 1),
            ("title", "PANE" if now.table == "panes" else "COLUMN", 10),
            ("words", "MEANING", width),
        )
        table.show([Heading(*column, left=True) for column in columns], rows)

    def action_turn(self) -> None:
        """Show the cursor's column, or hide it."""
        now, key = self._tables[0], str(self.query_one(_List).cursor)
        if key != now.usual[0]:
            now.shown = tuple(one for one in now.order if (one in now.shown) != (one == key))
            self._draw()

    def action_shift(self, by: int) -> None:
        """The cursor's column to the left or the right."""
        now, key = self._tables[0], str(self.query_one(_List).cursor)
        at = now.order.index(key)
        if at and 0 < at + by < len(now.order):
            now.order.insert(at + by, now.order.pop(at))
            now.shown = tuple(one for one in now.order if one in now.shown)
            self._draw()

    def action_usual(self) -> None:
        """As kvmtop has them."""
        now = self._tables[0]
        now.shown = now.usual
        now.__post_init__()
        self._draw()

    def action_other(self) -> None:
        """The columns of the next table."""
        self._tables.append(self._tables.pop(0))
        self._draw()
        self.call_after_refresh(self._draw)  # its pane may not have been seen until now

    @on(Selected)
    def _keep(self, event: Selected) -> None:
        event.stop()
        self.dismiss(True)

    async def action_dismiss(self, result: bool | None = None) -> None:
        """As it was before."""
        for table, columns in self._before.items() if not result else ():
            self._preview(table, columns)
        self.dismiss(result)
