"""Two recordings next to each other on a screen: compare's figures, sorted and filtered by keys and mouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ..insight.compare import Change, RecordingSpan, changes
from ..tables.columns import falling
from ..tables.compare import BY_KEY, COLUMNS, change_table, headed, ordered, span
from ..tables.row_choice import matcher
from ..widgets.filter_field import Filtered, FilterField
from ..widgets.footer import Keys
from ..widgets.help import Help, keys_of
from ..widgets.program import Program
from ..widgets.table import Sorted, Table
from ..widgets.theme import dress
from ..widgets.themes import wear
from .keys import HELP, key, shown


class Changes(Table, inherit_bindings=False):
    """Its rows lead nowhere: no Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [b for b in Table.BINDINGS if isinstance(b, Binding) and b.id != "open"]


class Comparison(Program):
    """The screen of kvmtop compare."""

    TITLE = "kvmtop"
    CSS_PATH = "kvmtop.tcss"
    CSS = """
    #header { height: 2; padding: 0 1; background: $panel; text-style: bold; }
    #state { height: 1; padding: 0 1; color: $text-muted; }
    #header, #state { text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        shown("q", "quit", "quit", "End, and print the comparison"),
        key("ctrl+c", "quit", "Quit", "The same", priority=True),
        HELP,
        shown("escape", "up", "back", "Clear the filter; without one, end"),
        shown("slash", "filter", "filter", "Show names that match a text or pattern", key_display="/", priority=True),
        shown("less_than_sign,comma", "step_sort(-1)", "sort", "Sort by the column before", key_display="<"),
        key("greater_than_sign,full_stop", "step_sort(1)", "Sort", "Sort by the next column"),
        shown("r", "reverse", "reverse", "Reverse the order"),
        key("E", "sort('rate_b')", "Sort", "Sort by exits a second in B"),
        key("T", "sort('time_b')", "Sort", "Sort by time in B"),
        key("P", "sort('p99_b')", "Sort", "Sort by p99 in B"),
        key("N", "sort('reason')", "Sort", "Sort by name"),
        key("C", "sort('rate_change')", "Sort", "Sort by the change of exits a second"),
        key("D", "sort('')", "Sort", "Sort by how much the time outside the guest changed, as at the start"),
    ]

    def __init__(
        self,
        a: RecordingSpan,
        b: RecordingSpan,
        found: Sequence[Change] | None = None,
        sort: str = "",
        theme: str = "dark",
    ) -> None:
        """Before and after, and which changes to show; all without. sort: by this column, as at the start without."""
        super().__init__()
        self.parts, self.changes = (a, b), changes(a, b) if found is None else list(found)
        self._theme_name = theme
        self.sorting, self.descending, self.filter = sort, falling(sort), ""

    def compose(self) -> ComposeResult:
        """Two lines of title, the table, and what it is sorted by."""
        yield Static(id="header")
        yield Changes(id="reasons")
        yield FilterField(id="filter")
        yield Static(id="state")
        yield Keys()

    def on_mount(self) -> None:
        """The table has the keys."""
        dress(self)
        wear(self, self._theme_name)
        self.screen.add_class("-sized")
        self.query_one(Changes).focus()

    def on_resize(self) -> None:
        """Columns follow the width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        table = self.query_one(Changes)
        width = self.size.width - 2  # not the table's room, which is laid out later
        matches = matcher(self.filter)
        found = ordered([c for c in self.changes if matches(c.name)], self.sorting, self.descending)
        what = "VM" if self.parts[0].of_vms else "reason"
        table.empty = f"no {what} matches {self.filter!r}" if self.filter else "neither has any exit"
        table.show(*change_table(found, width, self.parts[0]), (self.sorting, self.descending))
        self.query_one("#header", Static).update(Text("\n".join(map(self._title, "AB", self.parts)), no_wrap=True))
        by = BY_KEY[self.sorting].help if self.sorting else "how much the time outside the guest changed"
        state = f"by {by} {'▼' if self.descending else '▲'}" + (self.filter and f", /{self.filter}")
        self.query_one("#state", Static).update(Text(state, no_wrap=True))

    def _title(self, letter: str, part: RecordingSpan) -> str:
        """Of a long path the end, which has the range."""
        label, room = part.label, self.size.width - 7 - cell_len(span(part))
        while cell_len(label) > max(room, 1):
            label = "…" + label[2:]
        return f"{letter}: {label}: {span(part)}"

    def action_help(self) -> None:
        """Made from what is bound."""
        keys = keys_of(self, [*self.BINDINGS, *Changes.BINDINGS])
        self.push_screen(Help({"Keys": keys}, [(one.title, one.help) for one in headed(COLUMNS, self.parts[0])]))

    def action_up(self) -> None:
        """Clear the filter; at the top, end."""
        if not self.filter and not self.query_one(FilterField).is_open:
            return self.exit()
        self._filter(Filtered("", True))

    def action_sort(self, column: str) -> None:
        """By a column: largest first, names from A."""
        self.sorting, self.descending = column, falling(column)
        self._draw()

    def action_step_sort(self, by: int) -> None:
        """By the neighbouring column."""
        keys = ["", *(heading.key for heading in self.query_one(Changes).headings)]
        now = keys.index(self.sorting) if self.sorting in keys else 0
        self.action_sort(keys[(now + by) % len(keys)])

    def action_reverse(self) -> None:
        """The other way round."""
        self.descending = not self.descending
        self._draw()

    @on(Sorted)
    def _heading(self, event: Sorted) -> None:
        again = event.column == self.sorting
        self.action_reverse() if again else self.action_sort(event.column)

    def action_filter(self) -> None:
        """Ask for it."""
        self.query_one(FilterField).ask(self.filter)

    @on(Filtered)
    def _filter(self, event: Filtered) -> None:
        self.filter = event.text
        if event.done:
            self.query_one(FilterField).close()
            self.query_one(Changes).focus()
        self._draw()
