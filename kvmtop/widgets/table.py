"""A table that is redrawn every second: only the visible lines are rendered, and the cursor stays on its row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..tables.rows import Heading, Key, Lazy, Row
from .cells import dots, fit, parts, pieces
from .theme import Palette, palette, style


@dataclass
class Selected(Message):
    """A row was chosen, with Enter or a click. x: where it was clicked, in characters from the cursor's mark."""

    table: Table
    key: Key
    x: int | None = None

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


@dataclass(frozen=True)
class Marked:
    """Figures that matter: some columns of a row, in the tone of a state."""

    row: Key
    columns: Collection[str]
    state: str


class Table(ScrollView, can_focus=True):
    """Rows under headings that stay; the empty table says why it is empty."""

    DEFAULT_CSS = """
    Table {
        background: $background; color: $foreground; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        scrollbar-background: $background; scrollbar-color: $line;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "end(-1)", "First row", show=False),
        Binding("end,G", "end(1)", "Last row", show=False),
        Binding("enter", "select", "all of it", key_display="↵", tooltip="All of what the cursor is on", id="open"),
    ]

    def __init__(self, *, id: str | None = None, empty: str = "") -> None:
        super().__init__(id=id)
        self.headings: Sequence[Heading] = ()
        self.rows: Sequence[Row] = ()
        self.sorted: tuple[str, bool] = ("", True)
        self.foot: Sequence[Row] = ()
        self.empty = empty
        self.cursor: Key | None = None
        self.marked: Marked | None = None
        self.flagged: Key | None = None  # a row with a mark before it
        self.follow: Callable[[], None] | None = None  # what is drawn with the cursor: a message is a frame late
        self._keys: Sequence[Key] = ()
        self._at: int | None = None  # where the cursor is in them
        self._base = Style()

    @property
    def room(self) -> int:
        """Characters for the columns, beside the cursor's mark at the left and the scroll bar at the right."""
        return max(self.outer_size.width - 2, 0)

    def show(
        self,
        headings: Sequence[Heading],
        rows: Sequence[Row],
        sorted: tuple[str, bool] = ("", True),
        foot: Sequence[Row] = (),
    ) -> None:
        """Replace everything; the cursor's row keeps the cursor, and its place on the screen where it can.

        foot: rows that stay at the lower end, where there is room for more than them.
        """
        self._base = self.rich_style  # looked up once, not for each line
        was, keys = self._at, rows.keys if isinstance(rows, Lazy) else [row.key for row in rows]
        self.headings, self.rows, self.sorted, self._keys, self.foot = headings, rows, sorted, keys, foot
        now = self._at = self._find(was or 0)
        size = Size(self.size.width, len(rows) + 1 + self._feet)
        if size != self.virtual_size:
            self.virtual_size = size
        if now is None:
            self._at = min(was or 0, len(keys) - 1) if keys else None
            self.cursor = keys[self._at] if self._at is not None else None
        elif was is not None and now != was and self.scroll_offset.y:
            self.scroll_to(y=max(0, self.scroll_offset.y + now - was), animate=False, force=True, immediate=True)
        self.refresh()

    @property
    def _feet(self) -> int:
        return len(self.foot) if self.size.height > len(self.foot) + 4 else 0

    @property
    def _height(self) -> int:
        """Rows that are seen at a time."""
        return max(self.size.height - 1 - self._feet, 1)

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
        height = self._height
        top = self.scroll_offset.y
        if position < top:
            self.scroll_to(y=position, animate=False, force=True, immediate=True)
        elif position >= top + height:
            self.scroll_to(y=position - height + 1, animate=False, force=True, immediate=True)
        self.refresh()
        if self.follow:
            self.follow()
        self.post_message(Pointed(self))

    def point_at(self, key: Key) -> None:
        """Put the cursor on the row of this key, if there is one."""
        if key in self._keys:
            self.move_to(self._keys.index(key))

    def action_move(self, by: int) -> None:
        """Up and down."""
        self.move_to(self.position + by)

    def action_page(self, by: int) -> None:
        """A page up or down."""
        self.move_to(self.position + by * max(self._height - 1, 1))

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
        if event.y <= self._height and position < len(self.rows):
            self.move_to(position)
            self.post_message(Selected(self, self._keys[position], event.x))

    def _heading_at(self, x: int) -> str | None:
        end = 1
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
        width, base, colours = self.size.width, self._base, palette(self.app)
        if y == 0:
            return self._head(width, base, colours)
        position = y - 1 + self.scroll_offset.y
        if y > self._height:
            return self._row(self.foot[y - 1 - self._height], width, base, colours)
        if position < len(self.rows):
            return self._row(self.rows[position], width, base, colours)
        words = wrap(self.empty, max(width - 2, 1)) if not self.rows else []
        if 2 <= y < 2 + len(words):
            return Strip([Segment(fit(f" {words[y - 2]}", width, True), base + style(colours.label))], width)
        return Strip.blank(width, base)

    def _head(self, width: int, base: Style, colours: Palette) -> Strip:
        head, chosen = base + style(colours.label), base + style(colours.accent, "", "bold")
        segments = [Segment(" ", head)]
        for heading in self.headings:
            is_sorted = heading.key == self.sorted[0]
            title = heading.title
            if is_sorted and len(title) < heading.width:  # the arrow must not push the title out of its column
                title = title + ("▼" if self.sorted[1] else "▲")
            segments.append(
                Segment(fit(title, heading.width, heading.left or heading.trend), chosen if is_sorted else head)
            )
            segments.append(Segment(" ", head))
        return Strip(segments).adjust_cell_length(width, head)

    def _row(self, row: Row, width: int, base: Style, colours: Palette) -> Strip:
        here, text, label = row.key == self.cursor, colours.text, colours.label
        if here:
            base += style(colours.strong, colours.cursor if self.has_focus else colours.away)
            text = colours.strong
        if row.dim:
            text = label = colours.faint
        plain, unit = base + style(text), base + style(label)
        bold = plain + style("", "", "bold")
        edge = style(colours.accent if self.has_focus else label, "", "not reverse")
        flag = "◆" if row.key == self.flagged and self.flagged else " "
        segments = [Segment("▎" if here else flag, base + edge)]
        mark = self.marked if self.marked and row.key == self.marked.row else None
        for number, (heading, cell) in enumerate(zip(self.headings, row.cells, strict=False)):
            begin = len(segments)
            if not isinstance(cell, str):
                segments += pieces(cell, heading, base, plain, colours)
            elif heading.trend:
                low, high = (text, text) if row.dim else (colours.trend_low, colours.trend_high)
                drawn = dots(fit(cell, heading.width, False))
                segments += [Segment(run, base + style(high if tall else low)) for run, tall in drawn]
            elif heading.left:
                stands_out = row.mark or (not number and (here or row.strong))
                segments.append(Segment(fit(cell, heading.width, True), bold if stands_out else plain))
            else:
                figure, its_unit = parts(cell)
                sorted_by = here and heading.key == self.sorted[0]
                figure = fit(figure, heading.width - len(its_unit), False)
                segments += [Segment(figure, bold if row.mark or sorted_by else plain), Segment(its_unit, unit)]
            if mark and heading.key in mark.columns:
                tone = style(colours.tone.get(mark.state, ""), "", "bold")
                if isinstance(cell, str):
                    segments[begin:] = Segment.apply_style(segments[begin:], post_style=tone + Style(underline=True))
                segments.append(Segment("◂", base + tone))
            else:
                segments.append(Segment(" ", plain))
        return Strip(Segment.simplify(segments)).adjust_cell_length(width, base)
