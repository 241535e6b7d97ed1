"""The screen of the dashboard, and the keys that move about in it, sort and filter."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding
from textual.containers import Container
from textual.screen import Screen

from ..model.scope import ALL, Scope
from ..model.vocabulary import Key
from ..reference.labels import Labels
from ..tables.columns import falling
from ..tables.exit_reasons import BY_KEY, COLUMNS
from ..widgets.breadcrumbs import CrumbClicked, Trail
from ..widgets.filter_field import Filtered, FilterField
from ..widgets.footer import Keys
from ..widgets.help import Help, keys_of
from ..widgets.line import Line
from ..widgets.overview import PANES, Overview, PaneClicked, PaneTitles
from ..widgets.program import Program
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import SlowPage
from ..widgets.table import Selected, Sorted, Table
from ..widgets.theme import dress
from ..widgets.time_bar import Budget
from .feed import Feed, Reading
from .presenter import Presenter
from .viewpoint import Viewpoint


class Dashboard(Program):
    """Shows a Reading from a Viewpoint; whoever subclasses it provides the Readings."""

    TITLE = "kvmtop"
    CSS_PATH = "kvmtop.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012

    def __init__(self, feed: Feed, viewpoint: Viewpoint | None, labels: Labels | None) -> None:
        """viewpoint: where to begin; labels: the names of what exits touch."""
        super().__init__()
        self.feed, self.viewpoint = feed, viewpoint or Viewpoint()
        self.shown: Reading | None = None
        self.newest: Reading | None = None  # later than what is shown while the display is held
        self.doing = ""  # what takes a while, as a word
        self.presenter = Presenter(self, feed, self.viewpoint, labels or Labels())

    def compose(self) -> ComposeResult:
        """One column of lines around the body."""
        yield Line(id="header")
        yield Trail(id="trail")
        yield Budget(id="budget")
        yield Line(id="findings", grows=True)
        yield PaneTitles(id="panes")
        with Container(id="main"):
            yield Overview(id="body")
            yield ReasonPage()
            yield SlowPage()
            yield SchedulerPage()
        yield FilterField(id="filter")
        yield Line(id="status")
        yield Keys(compact=True)

    def on_mount(self) -> None:
        """The reasons have the keys."""
        dress(self)
        self.query_one(Overview).focus_table()
        self.app_resume_signal.subscribe(self, self._repaint)  # back from Ctrl-Z
        self.redraw()

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
        """Columns follow the width, once the new layout is known."""
        self.call_after_refresh(self.redraw)
        self._repaint()

    def _repaint(self, *_: object) -> None:
        """Draw everything again: the terminal may have lost what Textual believes to be there."""

        def refresh() -> None:
            if self.is_running and self.screen_stack:  # not yet, or no more
                self.screen.refresh()

        self.set_timer(0.1, refresh)

    # Moving about

    def go(self, scope: Scope, reason: Key | None = None) -> None:
        """Look at a scope, or at one reason in it."""
        at = self.viewpoint
        at.scope, at.reason, at.slowest, at.scheduler = scope, reason, False, ()
        self.look()
        page = self.query_one(ReasonPage)
        if reason is not None:
            page.clear_details()
        self._turn_to("#body" if reason is None else "ReasonPage")
        page.scroll_home(animate=False)
        self.call_after_refresh(self.redraw)
        if reason is not None:
            page.screen.set_focus(page)
        elif not isinstance(self.focused, Table):
            self.query_one(Overview).turn_keys_to("reasons")

    def _turn_to(self, shown: str) -> None:
        for page in ("#body", "ReasonPage", "SlowPage", "SchedulerPage"):  # a class around them would style all anew
            self.query_one(page).display = page == shown
        self.query_one("#panes").set_class(shown == "SchedulerPage", "-off")  # it has its own

    def look(self) -> None:
        """Ask for what the page that is open shows, and for nothing else."""
        if self.newest:
            self.feed.look(self.viewpoint.wish(self.newest))

    @on(Selected, "#reasons")
    def _open_reason(self, event: Selected) -> None:
        self.go(self.viewpoint.scope, event.key)  # type: ignore[arg-type]

    @on(Selected, "#vcpus")
    def _open_vcpu(self, event: Selected) -> None:
        at = self.viewpoint
        if event.key != at.scope:
            self._open_scheduler(event.key, (*at.scheduler, at.scope))  # type: ignore[arg-type]

    @on(Selected, "#vms")
    @on(Selected, "#who")
    def _open_member(self, event: Selected) -> None:
        self.go(event.key)  # type: ignore[arg-type]
        if self.query_one(Overview).pane == "vms":
            self.action_show_pane("reasons")

    @on(CrumbClicked)
    def _go_back_to(self, event: CrumbClicked) -> None:
        self.go(*event.target)  # type: ignore[misc]

    @on(PaneClicked)
    def _pane_clicked(self, event: PaneClicked) -> None:
        self.action_show_pane(event.pane)

    def action_up(self) -> None:
        """From reason to vCPU to VM to all; at the top, clear the filter."""
        at = self.viewpoint
        if self.query_one(FilterField).is_open:
            self._filter(Filtered("", True))
        elif len(at.scheduler) > 1:
            self._open_scheduler(at.scheduler[-1], at.scheduler[:-1])
        elif at.scheduler:
            self.action_scheduler()
        elif at.on_page:
            self.go(at.scope)
        elif at.scope.thread is not None:
            self.go(Scope(at.scope.pid))
        elif at.scope.pid is not None:
            self.go(ALL)
        elif any(at.filters.values()):
            at.filters = dict.fromkeys(at.filters, "")
            self.redraw()

    def action_slow(self) -> None:
        """The slowest exits, or back from them."""
        at = self.viewpoint
        if at.slowest:
            self.go(at.scope)
            return
        at.reason, at.slowest, at.scheduler = None, True, ()
        self.look()
        self._turn_to("SlowPage")
        slow = self.query_one(SlowPage)
        slow.screen.set_focus(slow)
        self.call_after_refresh(self.redraw)

    def action_scheduler(self) -> None:
        """Who has the CPU instead of the vCPUs of this scope, or of the one under the cursor; or back from there."""
        at, overview = self.viewpoint, self.query_one(Overview)
        if at.scheduler:
            self.go(at.scheduler[0])
            overview.focus_table()
            return
        vms = overview.table("vms")
        pointed = vms.cursor if self.focused is vms and isinstance(vms.cursor, Scope) else at.scope
        self._open_scheduler(pointed, (at.scope,))

    def _open_scheduler(self, scope: Scope, back: tuple[Scope, ...]) -> None:
        at, page = self.viewpoint, self.query_one(SchedulerPage)
        at.scope, at.reason, at.slowest, at.scheduler, at.memory = scope, None, False, back, None
        self.look()
        self._turn_to("SchedulerPage")
        page.begin(scope)
        if self.shown:
            self.presenter.findings(self.shown)  # they no longer say that there is such a page
        self.call_after_refresh(self.redraw)

    def action_memory(self) -> None:
        """Read on which NUMA nodes memory is; once, since that is dear."""
        if self.viewpoint.scheduler:
            self.viewpoint.memory = {}
            self.look()
            self.action_show_pane("vcpus")

    def action_pane(self, by: int) -> None:
        """The next pane: focus where all are seen, another pane where one is."""
        if self.viewpoint.scheduler:
            self.action_show_pane(self.query_one(SchedulerPage).beside(by))
        elif not self.viewpoint.on_page:
            one_pane = bool(self.query_one("#panes").display)
            self.action_show_pane(self.query_one(Overview).beside(by, one_pane))

    def action_show_pane(self, pane: str) -> None:
        """Show and focus a pane; one of the overview's closes the page that is open."""
        if pane in PANES and self.viewpoint.on_page:
            self.go(self.viewpoint.scope)
        if pane in PANES:
            self.query_one(Overview).turn_to(pane)
        else:
            self.query_one(SchedulerPage).turn_to(pane)
        self.call_after_refresh(self.redraw)

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
        """With or without idle reasons in the time shares."""
        self.viewpoint.leave_idle = not self.viewpoint.leave_idle
        self.redraw()

    def action_findings(self) -> None:
        """Show or hide them."""
        self.viewpoint.telling = not self.viewpoint.telling
        if self.shown:
            self.presenter.findings(self.shown)

    def action_filter(self) -> None:
        """Ask for the filter of the pane that has the keys."""
        if not self.viewpoint.on_page:
            self.query_one(FilterField).ask(self.viewpoint.filters[self.query_one(Overview).filtered])

    @on(Filtered)
    def _filter(self, event: Filtered) -> None:
        overview = self.query_one(Overview)
        self.viewpoint.filters[overview.filtered] = event.text
        if event.done:
            self.query_one(FilterField).close()
            overview.focus_table()
        self.redraw()

    def action_help(self) -> None:
        """Made from what is bound."""
        bound = keys_of(self, [*self.BINDINGS, *Table.BINDINGS])
        bound.append(("ctrl+p", "Palette: every command by name, and the light theme"))
        self.push_screen(Help(bound, [(column.title, column.help) for column in COLUMNS]))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key, and each column to sort by."""
        yield from super().get_system_commands(screen)
        for binding in self.BINDINGS:
            if isinstance(binding, Binding):
                title = binding.tooltip or binding.description
                words = f"key {binding.key.split(',')[0]}"
                yield SystemCommand(title, words, lambda action=binding.action: self.run_action(action))
        for column in COLUMNS:
            yield SystemCommand(f"Sort by {column.title}", column.help, lambda key=column.key: self.action_sort(key))
