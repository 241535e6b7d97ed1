"""The dashboard: takes Snapshots from its source in a thread of its own, and shows what they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from .. import units
from ..errors import KvmtopError
from ..insight import slow_exits
from ..insight.accesses import CODE, TOUCHED, accesses
from ..insight.caveats import caveats, dropped, silence
from ..insight.detail_history import Watched
from ..insight.findings import findings
from ..insight.halt_polling import polling
from ..insight.slow_exits import Slow
from ..insight.vcpus import shares, vcpu_rows
from ..model.exit_stats import by_reason
from ..model.interval import Interval
from ..model.reasons import IDLE
from ..model.scope import ALL, Scope
from ..model.session import Session
from ..model.source import Source
from ..model.vocabulary import KINDS, UNKNOWN, DetailRequest, Key
from ..output import summary
from ..reference.labels import Labels
from ..tables.accesses import access_table
from ..tables.exit_reasons import BY_KEY, COLUMNS, ordered, reason_table
from ..tables.halt_polling import polling_table
from ..tables.header import Place, header, trail
from ..tables.reason_page import page as reason_page
from ..tables.row_choice import matcher
from ..tables.rows import Rows
from ..tables.slow_exits import slow_table
from ..tables.vcpus import vcpu_table
from ..widgets import chart
from ..widgets.breadcrumbs import CrumbClicked, Trail
from ..widgets.chart import Chart
from ..widgets.footer import Keys
from ..widgets.help import Help, keys_of
from ..widgets.program import Program
from ..widgets.reason_page import ReasonPage
from ..widgets.slow_page import SlowPage
from ..widgets.table import Selected, Sorted, Table
from ..widgets.theme import dress
from ..widgets.time_bar import Budget, stacked

PANES = ("reasons", "vms", "chart")
INTERVALS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
FINDINGS = 3  # sentences on the screen
POINTS = 120  # intervals in the charts
MANY = 20_000  # vCPUs times reasons whose totals take some 30 ms to add up


@dataclass
class Tick(Message):
    """The source was read. Only the newest matters."""

    interval: Interval

    def can_replace(self, message: Message) -> bool:
        """Coalesce where drawing cannot keep up."""
        return isinstance(message, Tick)


class KvmtopApp(Program):
    """The Textual program."""

    TITLE = "kvmtop"
    CSS_PATH = "kvmtop.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "Quit", key_display="q", priority=True, tooltip="End, and print the summary"),
        Binding("question_mark,f1,h", "help", "Help", key_display="?", tooltip="Keys, columns and words"),
        Binding("space", "pause", "Pause", tooltip="Hold the display still; counting goes on"),
        Binding("escape,backspace", "up", "Back", tooltip="Up: from reason to vCPU to VM to all; or clear the filter"),
        Binding("slash", "filter", "Filter", key_display="/", tooltip="Show names that match a text or pattern"),
        Binding("less_than_sign,comma", "step_sort(-1)", "Sort", key_display="<",
                tooltip="Sort by the column on the left"),
        Binding("greater_than_sign,full_stop", "step_sort(1)", "Sort", key_display=">", show=False,
                tooltip="Sort by the column on the right"),
        Binding("r", "reverse", "Reverse", show=False, tooltip="Reverse the order"),
        Binding("t", "totals", "Totals", tooltip="Figures since the start instead of the last interval"),
        Binding("i", "idle", "Idle", show=False,
                tooltip="Leave idle reasons (HLT, MWAIT) out of time shares, or count them"),
        Binding("plus,equals_sign", "interval(1)", "Slower", show=False, key_display="+", tooltip="Longer interval"),
        Binding("minus", "interval(-1)", "Faster", show=False, key_display="-", tooltip="Shorter interval"),
        Binding("z", "reset", "Reset", show=False, tooltip="Count totals and trends from now on"),
        Binding("c", "clear", "Clear ended", show=False, tooltip="Take VMs that have ended off the list"),
        Binding("tab", "pane(1)", "Pane", show=False, priority=True, tooltip="Next pane: reasons, VMs, chart"),
        Binding("shift+tab", "pane(-1)", "Pane", show=False, priority=True, tooltip="Previous pane"),
        Binding("1", "show_pane('reasons')", "Reasons", show=False, tooltip="The reasons"),
        Binding("2", "show_pane('vms')", "VMs", show=False, tooltip="The VMs and their vCPUs"),
        Binding("3", "show_pane('chart')", "Chart", show=False, tooltip="The chart"),
        Binding("x", "slow", "Slow", tooltip="The slowest exits, one by one"),
        Binding("f", "findings", "Findings", show=False, tooltip="Show or hide what stands out"),
        Binding("w", "summary", "Summary", show=False, tooltip="Write the summary so far to a file"),
        Binding("s", "save_picture", "Screenshot", show=False, tooltip="Save this screen as an SVG file"),
        Binding("E", "sort('rate')", "By exits", show=False, tooltip="Sort by exits a second"),
        Binding("T", "sort('time')", "By time", show=False, tooltip="Sort by time"),
        Binding("A", "sort('avg')", "By average", show=False, tooltip="Sort by average duration"),
        Binding("P", "sort('p99')", "By p99", show=False, tooltip="Sort by p99"),
        Binding("M", "sort('max')", "By maximum", show=False, tooltip="Sort by the longest exit"),
        Binding("N", "sort('reason')", "By name", show=False, tooltip="Sort by name"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, tooltip="Back to the shell; fg returns"),
    ]  # fmt: skip

    def __init__(
        self,
        source: Source,
        interval: float = 1.0,
        duration: float | None = None,
        dump: Path | None = None,
        isa: int = UNKNOWN,
        look: DetailRequest | None = None,
        labels: Labels | None = None,
    ) -> None:
        """interval and duration in seconds; dump and isa are for the key that writes the summary.

        look: what to look at all the time; labels: the names of what exits touch.
        """
        super().__init__()
        self.session, self.watched = Session(), Watched()
        self._look, self._labels = look, labels or Labels()
        self.slowest, self.telling = False, True  # the page of the slowest exits; the findings
        self.scope, self.reason = ALL, cast("Key | None", None)
        self.sorting, self.descending = "time", True
        self.paused = self.since_start = self.leave_idle = False
        self._adding = False  # what happened since the start is being added up
        self.filters = {"reasons": "", "vms": ""}
        self.shown: Interval | None = None
        self.seconds = interval
        self._hidden: frozenset[int] = frozenset()
        self._source, self._duration, self._dump, self._isa = source, duration, dump, isa
        self._lines: dict[str, Text] = {}
        self._wake, self._ending = threading.Event(), False
        self._began = time.monotonic()

    def compose(self) -> ComposeResult:
        """One column of lines around the body."""
        yield Static(id="header")
        yield Trail(id="trail")
        yield Budget(id="budget")
        yield Static(id="findings")
        yield Static(id="panes")
        with Container(id="main"):
            with Container(id="body", classes="-reasons"):
                yield Table(id="reasons", empty="waiting for the first exit …")
                with Container(id="side"):
                    yield Table(id="vms", empty="no VM yet; one that starts appears here by itself")
                    with Vertical(id="chartbox"):
                        yield Static(id="chart-title")
                        yield Chart(id="chart")
            yield ReasonPage()
            yield SlowPage()
        yield Input(id="filter", placeholder="text or regular expression; Enter keeps it, Escape clears it")
        yield Static(id="status")
        yield Keys(compact=True)

    def on_mount(self) -> None:
        """Start reading."""
        dress(self)
        self.query_one("#reasons").focus()
        self.app_resume_signal.subscribe(self, self._repaint)  # back from Ctrl-Z
        self._draw()
        self._read()

    def on_unmount(self) -> None:
        """Let the reader end at once."""
        self._ending = True
        self._wake.set()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        end = self._began + self._duration if self._duration else float("inf")
        due = self._began
        while not self._ending:
            due = min(due + self.seconds, end)
            while (left := due - time.monotonic()) > 0 and not self._ending:
                if self._wake.wait(left):  # the interval was changed, or it is over
                    self._wake.clear()
                    due = min(time.monotonic() + self.seconds, end)
            if self._ending:
                return
            try:
                interval = self.session.add(self._source.read())
                self.watched.add(interval)
                self._prepare(interval)
            except KvmtopError as error:
                self.failure = error
                self.call_from_thread(self.exit)
                return
            self.post_message(Tick(interval))
            if time.monotonic() >= end:
                self.call_from_thread(self.exit)
                return
            due = max(due, time.monotonic() - self.seconds)  # after a suspension, no volley of readings

    def _prepare(self, interval: Interval) -> None:
        """In the reader's thread: what takes long with thousands of vCPUs, so that drawing does not wait for it."""
        for one in (interval, self.session.total() if self.since_start else None):
            if one:
                by_reason(one)
                vcpu_rows(self.session, one, self._hidden)

    def on_tick(self, tick: Tick) -> None:
        """New figures, unless the display is held."""
        if not self.is_running:  # its widgets go first when it ends
            return
        self._look_anew()
        if not self.paused:
            self.shown = tick.interval
            self._tell()
        self._draw()

    # What is shown

    def _interval(self) -> Interval | None:
        return self.session.total() if self.since_start and self.shown else self.shown

    def _draw(self) -> None:
        """Bring every visible widget up to date."""
        if not self.is_running:
            return
        interval = self._interval()
        self._draw_frame(interval)
        if interval is None:
            return
        if self.slowest:
            self.query_one(SlowPage).show(
                *(self._slow_rows(rows) for rows in (self.watched.interval, self.watched.run))
            )
            return
        if self.reason is not None:
            self._draw_page(interval, self.reason)
            return
        reasons, vms, picture = self._table("reasons"), self._table("vms"), self.query_one("#chart", Chart)
        if reasons.size.width:
            self._draw_reasons(reasons, interval)
        if vms.size.width:
            found = vcpu_rows(self.session, interval, self._hidden)
            if self.filters["vms"]:
                matches = matcher(self.filters["vms"])
                found = [member for member in found if matches(member.name) or matches(member.vm)]
            vms.show(*vcpu_table(found, self.scope, vms.size.width, _runs))
        if picture.size.width:
            samples = list(self.session.history)[-POINTS:]
            rates = [sample.rate(self.scope) for sample in samples]
            span = f"-{units.duration(sum(sample.seconds for sample in samples) * 1e9)}"
            self._line("chart-title", Text(f"Exits a second, {self._place()}", no_wrap=True))
            picture.show(lambda width, height: chart.line(rates, width, height, units.rate, span))

    def _draw_reasons(self, table: Table, interval: Interval) -> None:
        lines = self.session.lines(interval, self.scope, self.leave_idle, trend=10)
        matches = matcher(self.filters["reasons"])
        lines = ordered([line for line in lines if matches(line.reason.name)], self.sorting, self.descending)
        table.empty = (
            f"no reason matches {self.filters['reasons']!r}" if self.filters["reasons"]
            else silence(interval.after) or "no exit yet"
        )  # fmt: skip
        table.show(*reason_table(lines, table.size.width), (self.sorting, self.descending))

    def _draw_frame(self, interval: Interval | None) -> None:
        snapshot = self.session.last
        width = self.size.width - 2
        self._line("header", Text(self._header(interval, width), no_wrap=True))
        self.query_one(Trail).show(trail(self.scope, snapshot, self.reason), self._state())
        self.query_one(Budget).show(shares(interval, self.scope) if interval else None)
        body = self.query_one("#body")
        titles = ((f"{n} {title}", body.has_class(f"-{pane}")) for n, (pane, title) in
                  enumerate(zip(PANES, ("Reasons", "VMs", "Chart"), strict=True), 1))  # fmt: skip
        self._line("panes", Text("  ").join(Text(title, "bold reverse" if on else "") for title, on in titles))
        words = ", ".join(filter(None, [self._source.trouble, caveats(snapshot) if snapshot else ""]))
        self.query_one("#status").set_class(bool(words), "-on")
        self._line("status", Text(words, no_wrap=True))

    def _line(self, id: str, text: Text) -> None:
        """A line that changes nothing in the layout, and is not drawn again for nothing."""
        widget = self.query_one(f"#{id}", Static)
        if self._lines.get(id) != text:
            self._lines[id] = text
            widget.update(text, layout=False)

    def _header(self, interval: Interval | None, width: int) -> str:
        return header(interval, self.paused, width) if interval else "kvmtop · starting …"

    def _pace(self) -> str:
        return f"every {self.seconds:g}s"

    def _state(self) -> str:
        parts = [f"since start, by {BY_KEY[self.sorting].title}" if self.since_start else self._pace()]
        if self.slowest:
            parts.insert(0, "slowest exits")
        if self._adding:
            parts.append("adding up …")
        if self.leave_idle:
            parts.append("without idle")
        parts += [f"/{text}" for text in self.filters.values() if text]
        if self.paused:
            parts.append("PAUSED")
        return " ".join(parts)

    def _tell(self) -> None:
        """What stands out in the last interval, as plain sentences."""
        interval = self.session.interval
        rows = vcpu_rows(self.session, interval, self._hidden) if interval and self.telling else []
        found = findings(self.session, interval, rows, self._names())[:FINDINGS] if interval and rows else []
        widget = self.query_one("#findings", Static)
        widget.set_class(bool(found), "-on")
        text = Text("\n").join(Text.assemble("! ", one.text, (f"  [{one.rule}]", "dim")) for one in found)
        if self._lines.get("findings") != text:
            self._lines["findings"] = text
            widget.update(text)

    def _names(self) -> Labels:
        return replace(self._labels, names=self.session.last.names) if self.session.last else self._labels

    def _slow_rows(self, rows: Sequence[Slow]) -> Rows:
        return slow_table(rows, self.query_one(SlowPage).size.width - 1, self._names())

    def _look_anew(self) -> None:
        """Ask the source for what the page that is open shows, and for nothing else."""
        interval = self.session.interval
        if not interval:
            return
        wish, threshold = self._look, self._look.slow_ns if self._look else None
        if self.slowest:
            wish = DetailRequest(TOUCHED, None, threshold or slow_exits.threshold(interval))
        elif self.reason is not None:
            wish = DetailRequest(
                frozenset(KINDS) - {""}, self.reason, threshold or slow_exits.threshold(interval, self.reason)
            )
        self._source.look(wish)

    def _place(self) -> str:
        return " › ".join(name for name, _ in trail(self.scope, self.session.last, None))

    def _draw_page(self, interval: Interval, key: Key) -> None:
        page = reason_page(self.session, interval, self.scope, key, POINTS)
        self.query_one(ReasonPage).show(
            facts=page.facts, meaning=page.meaning, hist=page.hist, marks=page.marks, decades=page.decades,
            heat=page.heat, octaves=page.octaves, rates=page.rates, p99s=page.p99s, span=page.span, who=page.who,
        )  # fmt: skip
        latest = self.session.interval
        widget = self.query_one(ReasonPage)
        if latest and latest.after.details and latest.after.details.look.only == key:
            names, history = self._names(), self.watched.history
            rows = accesses(latest, self.scope, TOUCHED | {CODE}, history)
            mine = [one for one in self.watched.interval if (one.isa, one.code) == key]
            width = self._table("touched").size.width or widget.size.width  # side by side where the screen is wide
            widget.show_details(
                access_table([row for row in rows if row.kind != CODE], width, names),
                access_table([row for row in rows if row.kind == CODE], width, names),
                slow_table(mine, widget.size.width - 1, names),
                polling_table(polling(latest, self.scope), latest) if key in IDLE else None,
                dropped(latest.after.details),
            )

    def _table(self, id: str) -> Table:
        return self.query_one(f"#{id}", Table)

    def on_resize(self) -> None:
        """Columns follow the width, once the new layout is known."""
        self.call_after_refresh(self._draw)
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
        self.scope, self.reason, self.slowest = scope, reason, False
        self._look_anew()
        if reason is not None:
            self.query_one(ReasonPage).clear_details()
        self._turn_to("#body" if reason is None else "ReasonPage")
        self.query_one(ReasonPage).scroll_home(animate=False)
        self.call_after_refresh(self._draw)
        if reason is not None:
            self.query_one(ReasonPage).focus()
        elif not isinstance(self.focused, Table):
            self.query_one("#reasons").focus()

    def _turn_to(self, shown: str) -> None:
        for page in ("#body", "ReasonPage", "SlowPage"):  # a class on what is around them would style all anew
            self.query_one(page).display = page == shown

    @on(Selected, "#reasons")
    def _open_reason(self, event: Selected) -> None:
        self.go(self.scope, event.key)  # type: ignore[arg-type]

    @on(Selected, "#vms")
    @on(Selected, "#who")
    def _open_member(self, event: Selected) -> None:
        self.go(event.key)  # type: ignore[arg-type]
        if self.query_one("#body").has_class("-vms"):
            self.action_show_pane("reasons")

    @on(CrumbClicked)
    def _go_back_to(self, event: CrumbClicked) -> None:
        place: Place = event.target  # type: ignore[assignment]
        self.go(*place)

    @on(events.Click, "#panes")
    def _pane_clicked(self, event: events.Click) -> None:
        ends = (12, 19, 99)  # of the titles, as _draw_frame writes them
        self.action_show_pane(PANES[next(n for n, end in enumerate(ends) if event.x < end)])

    @on(Sorted, "#reasons")
    def _heading(self, event: Sorted) -> None:
        if event.column == self.sorting:
            self.action_reverse()
        else:
            self.action_sort(event.column)

    def action_up(self) -> None:
        """From reason to vCPU to VM to all; at the top, clear the filter."""
        if self.slowest or self.reason is not None:
            self.go(self.scope)
        elif self.scope.thread is not None:
            self.go(Scope(self.scope.pid))
        elif self.scope.pid is not None:
            self.go(ALL)
        elif any(self.filters.values()):
            self.filters = dict.fromkeys(self.filters, "")
            self._draw()

    def action_pane(self, by: int) -> None:
        """The next pane: focus where all are seen, another pane where one is."""
        if self.reason is not None or self.slowest:
            return
        body = self.query_one("#body")
        now = next(n for n, pane in enumerate(PANES) if body.has_class(f"-{pane}"))
        panes = PANES if self._one_pane() else PANES[:2]
        self.action_show_pane(panes[(now + by) % len(panes)])

    def action_show_pane(self, pane: str) -> None:
        """Show and focus a pane."""
        if self.reason is not None or self.slowest:
            self.go(self.scope)
        body = self.query_one("#body")
        for name in PANES:
            body.set_class(name == pane, f"-{name}")
        if pane != "chart":
            self.query_one(f"#{pane}").focus()
        self.call_after_refresh(self._draw)

    def _one_pane(self) -> bool:
        return bool(self.query_one("#panes").display)

    # Keys

    def action_help(self) -> None:
        """Made from what is bound."""
        bound = keys_of(self, [*self.BINDINGS, *Table.BINDINGS])
        bound.append(("ctrl+p", "Palette: every command by name, and the light theme"))
        self.push_screen(Help(bound, [(column.title, column.help) for column in COLUMNS]))

    def action_pause(self) -> None:
        """Hold the display."""
        self.paused = not self.paused
        if not self.paused:
            self.shown = self.session.interval
        self._draw()

    def action_slow(self) -> None:
        """The slowest exits, or back from them."""
        if self.slowest:
            self.go(self.scope)
            return
        self.reason, self.slowest = None, True
        self._look_anew()
        self._turn_to("SlowPage")
        self.query_one(SlowPage).focus()
        self.call_after_refresh(self._draw)

    def action_findings(self) -> None:
        """Show or hide them."""
        self.telling = not self.telling
        self._tell()

    def action_totals(self) -> None:
        """Interval or since the start."""
        if self.shown and len(self.shown.rows) > MANY and not self.since_start:
            self._adding = not self._adding
            self._draw_frame(self._interval())  # answers the key, until the figures are there
            if self._adding:
                self._add_up()
        else:
            self.since_start = not self.since_start
            self._draw()

    @work(thread=True, group="totals")
    def _add_up(self) -> None:
        total = self.session.total()
        if total:
            self._prepare(total)
        self.call_from_thread(self._added_up)

    def _added_up(self) -> None:
        if self._adding and self.is_running:
            self._adding, self.since_start = False, True
            self._draw()

    def action_idle(self) -> None:
        """With or without idle reasons in the time shares."""
        self.leave_idle = not self.leave_idle
        self._draw()

    def action_sort(self, column: str) -> None:
        """By a column: largest first, names from A."""
        self.sorting, self.descending = column, column != "reason"
        self._draw()

    def action_step_sort(self, by: int) -> None:
        """By the neighbouring column."""
        keys = [heading.key for heading in self._table("reasons").headings] or list(BY_KEY)
        now = keys.index(self.sorting) if self.sorting in keys else 0
        self.action_sort(keys[(now + by) % len(keys)])

    def action_reverse(self) -> None:
        """The other way round."""
        self.descending = not self.descending
        self._draw()

    def action_interval(self, by: int) -> None:
        """The next longer or shorter interval."""
        longer = [s for s in INTERVALS if s > self.seconds]
        shorter = [s for s in INTERVALS if s < self.seconds]
        choice = longer[:1] if by > 0 else shorter[-1:]
        if choice:
            self.seconds = choice[0]
            self._wake.set()
            self._draw()

    def action_reset(self) -> None:
        """Totals and trends start anew."""
        self.session.reset()
        self._draw()
        self.notify("Totals and trends count from now. The closing summary still covers the whole run.")

    def action_clear(self) -> None:
        """Hide ended VMs."""
        if self.session.last:
            self._hidden |= {vm.pid for vm in self.session.last.vms.values() if vm.ended}
            if self.scope.pid in self._hidden:
                self.go(ALL)
            self._draw()

    def action_summary(self) -> None:
        """The summary so far, as a file."""
        if not self.session.last:
            return
        path = self._dump or Path(time.strftime("kvmtop-%Y%m%d-%H%M%S.txt"))
        self._save(path, summary.text(self.session.last, self._isa))

    def action_save_picture(self) -> None:
        """This screen as SVG."""
        self._save(Path(time.strftime("kvmtop-%Y%m%d-%H%M%S.svg")), self.export_screenshot())

    def _save(self, path: Path, text: str) -> None:
        try:
            summary.write(path, text)
        except OSError as error:
            self.notify(f"cannot write {path}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"written: {path}", markup=False)

    def action_filter(self) -> None:
        """Ask for the filter of the pane that has the keys."""
        if self.reason is not None or self.slowest:
            return
        field = self.query_one("#filter", Input)
        field.value = self.filters[self._filtered()]
        field.add_class("-on")
        field.focus()

    def _filtered(self) -> str:
        return "vms" if self.focused is self._table("vms") or self._last_pane == "vms" else "reasons"

    _last_pane = "reasons"

    def on_descendant_focus(self) -> None:
        """Remember which table had the keys last."""
        if isinstance(self.focused, Table) and self.focused.id in self.filters:
            self._last_pane = self.focused.id

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        if event.input.has_class("-on"):
            self.filters[self._last_pane] = event.value
            self._draw()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one("#filter").remove_class("-on")
        self.query_one(f"#{self._last_pane}").focus()

    def on_key(self, event: object) -> None:
        """Escape in the filter's field clears it."""
        if getattr(event, "key", "") == "escape" and self.query_one("#filter").has_class("-on"):
            self.filters[self._last_pane] = ""
            self._filter_done()
            self._draw()
            event.stop()  # type: ignore[attr-defined]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key, and each column to sort by."""
        yield from super().get_system_commands(screen)
        for binding in self.BINDINGS:
            assert isinstance(binding, Binding)
            action = binding.action
            yield SystemCommand(binding.tooltip or binding.description, f"key {binding.key.split(',')[0]}",
                                lambda action=action: self.run_action(action))  # fmt: skip
        for column in COLUMNS:
            yield SystemCommand(f"Sort by {column.title}", column.help, lambda key=column.key: self.action_sort(key))


def _runs(shares: dict[str, float] | None, width: int) -> list[tuple[str, str]]:
    text = stacked(shares, width)
    if not text.spans:
        return [(text.plain, "")]
    return [(text.plain[span.start : span.end], str(span.style)) for span in text.spans]
