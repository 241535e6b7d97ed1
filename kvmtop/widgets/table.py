"""A table that is redrawn every second: only the visible lines are rendered, and the cursor stays on its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..tables.rows import Heading, Key, Lazy, Row
from .theme import STYLES


@dataclass
class Selected(Message):
    """A row was chosen, with Enter or a click."""

    table: Table
    key: Key

    @property
    def control(self) -> Table:
        """The table, for @on's selector."""
        return self.table


@dataclass
class Pointed(Message):
    """The cursor went to another row, by a key or a click."""

    table: Table

    @property
    def control(self) -> Table:
        """The table, for @on's selector."""
        return self.table


@dataclass
class Sorted(Message):
    """A heading was clicked."""

    table: Table
    column: str

    @property
    def control(self) -> Table:
        """The table, for @on's selector."""
        return self.table


def fit(text: str, width: int, left: bool) -> str:
    """Exactly so many terminal cells, also of wide characters; what is cut off ends in …"""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" if width else ""
    return text + " " * (width - length) if left else " " * (width - length) + text


@lru_cache(64)
def _style(colour: str) -> Style:
    return Style.parse(colour)


class Table(ScrollView, can_focus=True):
    """Rows under headings that stay; the empty table says why it is empty."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--sorted",
        "table--cursor",
        "table--blurred",
        "table--fill",
        "table--dim",
        "table--mark",
        "table--trend",
    }
    DEFAULT_CSS = """
    Table {
        background: $background; color: $foreground; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        & > .table--head { color: $text-muted; background: $panel; text-style: bold; }
        & > .table--sorted { color: $accent; background: $panel; text-style: bold underline; }
        & > .table--cursor { background: $cursor; text-style: bold; }
        & > .table--blurred { background: $cursor-away; }
        &:nocolor > .table--cursor { text-style: bold reverse; }
        &:nocolor > .table--blurred { text-style: underline; }
        & > .table--fill { background: $shade; }
        & > .table--dim { color: $faded; }
        & > .table--trend { color: $trend; }
        & > .table--mark { color: $accent; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "end(-1)", "First row", show=False),
        Binding("end,G", "end(1)", "Last row", show=False),
        Binding("enter", "select", "Open", id="open"),
    ]

    def __init__(self, *, id: str | None = None, empty: str = "") -> None:
        super().__init__(id=id)
        self.headings: Sequence[Heading] = ()
        self.rows: Sequence[Row] = ()
        self.sorted: tuple[str, bool] = ("", True)
        self.empty = empty
        self.cursor: Key | None = None
        self._keys: Sequence[Key] = ()
        self._at: int | None = None  # where the cursor is in them
        self._base = Style()

    def show(self, headings: Sequence[Heading], rows: Sequence[Row], sorted: tuple[str, bool] = ("", True)) -> None:
        """Replace everything; the cursor's row keeps the cursor, and its place on the screen where it can."""
        self._base = self.rich_style  # looked up once, not for each line
        was, keys = self._at, rows.keys if isinstance(rows, Lazy) else [row.key for row in rows]
        self.headings, self.rows, self.sorted, self._keys = headings, rows, sorted, keys
        now = self._at = self._find(was or 0)
        size = Size(self.size.width, len(rows) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
        if now is None:
            self._at = min(was or 0, len(keys) - 1) if keys else None
            self.cursor = keys[self._at] if self._at is not None else None
        elif was is not None and now != was and self.scroll_offset.y:
            self.scroll_to(y=max(0, self.scroll_offset.y + now - was), animate=False, force=True, immediate=True)
        self.refresh()

    @property
    def position(self) -> int:
        """The cursor's row."""
        return self._at or 0

    def _find(self, near: int) -> int | None:
        """Where the cursor's key is: as a rule where it was before."""
        if near < len(self._keys) and self._keys[near] == self.cursor:
            return near
        return self._keys.index(self.cursor) if self.cursor in self._keys else None

    def move_to(self, position: int) -> None:
        """Put the cursor on a row, and the row into view."""
        if not self.rows:
            return
        position = max(0, min(position, len(self.rows) - 1))
        self._at, self.cursor = position, self._keys[position]
        height = max(self.size.height - 1, 1)
        top = self.scroll_offset.y
        if position < top:
            self.scroll_to(y=position, animate=False, force=True, immediate=True)
        elif position >= top + height:
            self.scroll_to(y=position - height + 1, animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(Pointed(self))

    def action_move(self, by: int) -> None:
        """Up and down."""
        self.move_to(self.position + by)

    def action_page(self, by: int) -> None:
        """A page up or down."""
        self.move_to(self.position + by * max(self.size.height - 2, 1))

    def action_end(self, by: int) -> None:
        """To the first or the last row."""
        self.move_to(0 if by < 0 else len(self.rows) - 1)

    def action_select(self) -> None:
        """Open the cursor's row."""
        if self.cursor is not None and self.rows:
            self.post_message(Selected(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """A heading sorts; a row is chosen at once."""
        if event.y == 0:
            column = self._heading_at(event.x)
            if column:
                self.post_message(Sorted(self, column))
            return
        position = event.y - 1 + self.scroll_offset.y
        if position < len(self.rows):
            self.move_to(position)
            self.action_select()

    def _heading_at(self, x: int) -> str | None:
        end = 0
        for heading in self.headings:
            end += heading.width + 1
            if x < end:
                return heading.key
        return None

    def notify_style_update(self) -> None:
        """Another theme."""
        super().notify_style_update()
        self._base = self.rich_style

    def on_focus(self) -> None:
        """The cursor is brighter where the keys go."""
        self.refresh()

    on_blur = on_focus

    def render_line(self, y: int) -> Strip:
        """One line of the screen; see Textual's line API."""
        width = self.size.width
        if y == 0:
            return self._head(width)
        base = self._base
        position = y - 1 + self.scroll_offset.y
        if position >= len(self.rows):
            text = fit(f" {self.empty}", width, True) if not self.rows and y == 2 and self.empty else " " * width
            return Strip([Segment(text, base)], width)
        return self._row(self.rows[position], width, base)

    def _head(self, width: int) -> Strip:
        head, chosen = self.get_component_rich_style("table--head"), self.get_component_rich_style("table--sorted")
        segments = []
        for heading in self.headings:
            is_sorted = heading.key == self.sorted[0]
            title = heading.title
            if is_sorted and len(title) < heading.width:  # the arrow must not push the title out of its column
                title = title + ("▼" if self.sorted[1] else "▲")
            segments.append(Segment(fit(title, heading.width, heading.left), chosen if is_sorted else head))
            segments.append(Segment(" ", head))
        return Strip(segments).adjust_cell_length(width, head)

    def _row(self, row: Row, width: int, base: Style) -> Strip:
        style = base
        if row.dim:
            style += self.get_component_rich_style("table--dim", partial=True)
        if row.mark:
            style += self.get_component_rich_style("table--mark", partial=True)
        if row.key == self.cursor:
            name = "table--cursor" if self.has_focus else "table--blurred"
            style += self.get_component_rich_style(name, partial=True)
        segments, plain = [], ""  # cells of the row's own style are drawn as one
        for number, (heading, text) in enumerate(zip(self.headings, row.cells, strict=False)):
            cell = fit(text, heading.width, heading.left) if isinstance(text, str) else ""
            filled = round(row.fill * heading.width) if number == 0 else 0
            if filled:
                shaded = style + self.get_component_rich_style("table--fill", partial=True)
                left = set_cell_size(cell, filled)
                segments.append(Segment(left, shaded))
                plain = cell[len(left) :]
            elif heading.trend:
                trend = style + self.get_component_rich_style("table--trend", partial=True)
                segments += [Segment(plain, style), Segment(cell, trend)]
                plain = ""
            elif not isinstance(text, str):
                segments.append(Segment(plain, style))
                segments += [Segment(run, style + _style(STYLES[state])) for run, state in text]
                segments.append(Segment(" " * (heading.width - sum(cell_len(run) for run, _ in text)), style))
                plain = ""
            else:
                plain += cell
            plain += " "
        segments.append(Segment(plain, style))
        return Strip(segments).adjust_cell_length(width, style)
