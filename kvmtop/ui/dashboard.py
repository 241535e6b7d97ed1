"""The screen of the dashboard, and the keys that sort and filter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding
from textual.containers import Container
from textual.geometry import Size
from textual.screen import Screen

from ..insight import rules
from ..reference import exit_reasons, words
from ..reference.labels import Labels
from ..reference.word_texts import IN_SHORT
from ..tables.columns import falling
from ..tables.exit_reasons import BY_KEY, COLUMNS
from ..widgets.area import Area
from ..widgets.breadcrumbs import Trail
from ..widgets.explanation import Explanation
from ..widgets.filter_field import Filtered, FilterField
from ..widgets.footer import Keys
from ..widgets.help import Help, keys_of
from ..widgets.line import Line
from ..widgets.links import Links
from ..widgets.overview import Overview
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import SlowPage
from ..widgets.table import Sorted, Table
from ..widgets.theme import dress
from ..widgets.time_bar import Budget
from ..widgets.timeline_page import TimelinePage
from .feed import Feed, Reading
from .keys import GROUPS
from .moving import Moving
from .presenter import Presenter
from .viewpoint import Viewpoint

OF_WIDGETS = ("To move", "On the timeline")  # whose keys are not the app's


class Dashboard(Moving):
    """Shows a Reading from a Viewpoint; whoever subclasses it provides the Readings."""

    TITLE = "kvmtop"
    CSS_PATH = "kvmtop.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (120, "-wide"), (160, "-full")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(rows, f"-h{rows}") for rows in (0, 14, 18, 24, 30, 36, 48, 60)]  # noqa: RUF012

    def __init__(self, feed: Feed, viewpoint: Viewpoint | None, labels: Labels | None) -> None:
        """viewpoint: where to begin; labels: the names of what exits touch."""
        super().__init__()
        self.feed, self.viewpoint = feed, viewpoint or Viewpoint()
        self.shown: Reading | None = None
        self.newest: Reading | None = None  # later than what is shown while the display is held
        self.doing = ""  # what takes a while, as a word
        self._laid_for = Size()
        self.presenter = Presenter(self, feed, self.viewpoint, labels or Labels())

    def compose(self) -> ComposeResult:
        """One column of lines around the body."""
        yield Trail(id="trail")
        yield Area("Where the time goes", id="area")
        yield Budget(id="budget")
        yield Links(id="findings")
        with Container(id="main"):
            yield Overview(id="body")
            yield ReasonPage()
            yield SlowPage()
            yield SchedulerPage()
            yield TimelinePage()
        yield FilterField(id="filter")
        yield Line(id="status")
        yield Keys()

    def on_mount(self) -> None:
        """The reasons have the keys."""
        dress(self)
        self.begin()
        overview = self.query_one(Overview)
        for table in ("reasons", "vms"):
            overview.table(table).follow = self._pointed
        overview.focus_table()
        self.app_resume_signal.subscribe(self, self._repaint)  # back from Ctrl-Z
        self.screen.screen_layout_refresh_signal.subscribe(self, self._laid_out)
        self.redraw()

    def begin(self) -> None:
        """The themes are there; whoever subclasses it wears another one."""

    def redraw(self) -> None:
        """Bring every visible widget up to date."""
        if not self.is_running:
            return
        self.redraw_frame()
        if self.shown and self.newest:
            self.presenter.body(self.shown, self.newest)

    def redraw_frame(self) -> None:
        """The lines around the body alone, which takes no time."""
        self.presenter.frame(self.shown, self.newest, self.doing)

    def on_resize(self) -> None:
        """Before there is a size, nothing is drawn."""
        self.screen_stack[0].add_class("-sized")
        self._repaint()

    def _laid_out(self, screen: Screen[object]) -> None:
        """Columns follow the width once the widgets have theirs, and not with the next reading, which may be long."""
        if screen.size != self._laid_for:
            self._laid_for = screen.size
            self.call_after_refresh(self.redraw)

    def _repaint(self, *_: object) -> None:
        """Draw everything again: the terminal may have lost what Textual believes to be there."""

        def refresh() -> None:
            if self.is_running and self.screen_stack:  # not yet, or no more
                self.screen.refresh()

        self.set_timer(0.1, refresh)

    # How it is shown

    @on(Sorted, "#reasons")
    def _heading(self, event: Sorted) -> None:
        if event.column == self.viewpoint.sorting:
            self.action_reverse()
        else:
            self.action_sort(event.column)

    def action_sort(self, column: str) -> None:
        """By a column: largest first, names from A."""
        self.viewpoint.sorting, self.viewpoint.descending = column, falling(column)
        self.redraw()

    def action_step_sort(self, by: int) -> None:
        """By the neighbouring column."""
        headings = self.query_one(Overview).table("reasons").headings
        keys = [heading.key for heading in headings] or list(BY_KEY)
        now = keys.index(self.viewpoint.sorting) if self.viewpoint.sorting in keys else 0
        self.action_sort(keys[(now + by) % len(keys)])

    def action_reverse(self) -> None:
        """The other way round."""
        self.viewpoint.descending = not self.viewpoint.descending
        self.redraw()

    def action_idle(self) -> None:
        """Idle reasons among the others, or after them."""
        self.viewpoint.idle = not self.viewpoint.idle
        self.redraw()

    def action_filter(self) -> None:
        """Ask for the filter of the pane that has the keys."""
        field, table = self.query_one(FilterField), self.query_one(Overview).filtered
        if field.is_open and field.table == table:
            self.screen.set_focus(field)
        elif not self.viewpoint.on_page:
            self.viewpoint.remember()
            field.ask(self.viewpoint.filters[table], table)

    @on(Filtered)
    def _filter(self, event: Filtered) -> None:
        field = self.query_one(FilterField)
        self.viewpoint.filters[field.table] = event.text
        if event.done:
            if not event.text:  # there is nothing to undo
                self.viewpoint.undo()
                self.viewpoint.filters[field.table] = ""
            field.close()
            self.query_one(Overview).focus_table()
            self.call_after_refresh(self.redraw)  # with the room that the field leaves
        else:
            self.redraw()

    def action_help(self) -> None:
        """Made from what is bound."""
        groups = {OF_WIDGETS[0]: Table.BINDINGS, **GROUPS}
        if not self.feed.goes_back:
            groups[OF_WIDGETS[1]] = TimelinePage.BINDINGS
        bound = {
            title: keys_of(self, [one for one in group if one in self.BINDINGS or title in OF_WIDGETS])
            for title, group in groups.items()
        }
        bound["To leave"].insert(0, ("ctrl+p", "Palette: every command by name, and the light theme"))
        known = {title: keys for title, keys in bound.items() if keys}
        self.push_screen(Help(known, [(column.title, column.help) for column in COLUMNS], IN_SHORT, words.in_help()))

    def action_explain(self) -> None:
        """What kvmtop explain says of the reason, of a page or under the cursor, or of the finding that is walked."""
        reasons, names = self.query_one(Overview).table("reasons"), self.shown and self.shown.snapshot.names
        key = self.viewpoint.reason or (reasons.cursor if self.focused is reasons else None)
        if isinstance(self.focused, Links):
            rule = next((one.name for one in self.presenter.found if one.key == self.viewpoint.walked), "")
            for word in (word for word in rules.WORDS if word.name == rule):
                self.push_screen(Explanation(rule, partial(words.text, word)))
        elif not names or not isinstance(key, tuple):
            self.notify("Move to a reason or, with f, to a finding first.")
        elif meaning := exit_reasons.meaning(*key):
            self.push_screen(Explanation(names.name(*key), partial(exit_reasons.text, meaning)))
        else:
            self.notify(f"Nobody has described {names.name(*key)}.")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key, and each column to sort by."""
        known = {"Theme"}  # of Textual's: the others are keys of ours, or take a widget out of its place
        yield from (one for one in super().get_system_commands(screen) if one.title in known)
        for binding in self.BINDINGS:
            if isinstance(binding, Binding):
                title = binding.tooltip or binding.description
                words = f"key {binding.key.split(',')[0]}"
                yield SystemCommand(title, words, lambda action=binding.action: self.run_action(action))
        for column in COLUMNS:
            yield SystemCommand(f"Sort by {column.title}", column.help, lambda key=column.key: self.action_sort(key))
