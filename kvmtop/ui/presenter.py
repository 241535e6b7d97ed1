"""From a Reading and a Viewpoint to what the widgets show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.text import Text
from textual.app import App

from .. import units
from ..insight.accesses import CODE, TOUCHED, accesses
from ..insight.caveats import caveats, dropped, silence
from ..insight.findings import Finding, findings
from ..insight.halt_polling import polling
from ..insight.slow_exits import Slow
from ..insight.vcpus import VcpuRow, shares, vcpu_rows
from ..model.exit_stats import by_reason
from ..model.interval import Interval
from ..model.reasons import HLT
from ..model.vocabulary import Key
from ..reference.labels import Labels
from ..tables.accesses import access_table
from ..tables.exit_reasons import BY_KEY, ordered, reason_table
from ..tables.halt_polling import polling_table
from ..tables.header import trail
from ..tables.reason_page import page as reason_page
from ..tables.row_choice import matcher
from ..tables.rows import Rows
from ..tables.scheduler_page import covers, told
from ..tables.scheduler_page import page as scheduler_page
from ..tables.slow_exits import slow_table
from ..tables.vcpus import vcpu_table
from ..widgets.breadcrumbs import Trail
from ..widgets.line import Line
from ..widgets.overview import Overview, PaneTitles
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import SlowPage
from ..widgets.time_bar import Budget
from .feed import POINTS, Feed, Reading
from .keys import MEMORY, SCHEDULER
from .viewpoint import Viewpoint

FINDINGS = 3  # sentences on the screen


class Presenter:
    """Fills the widgets of the dashboard, those that are seen."""

    def __init__(self, app: App[Any], feed: Feed, at: Viewpoint, labels: Labels) -> None:
        """labels: the names of what exits touch."""
        self._app, self._feed, self._at, self._labels = app, feed, at, labels

    def prepare(self, reading: Reading, totals: bool) -> None:
        """In another thread: what takes long with thousands of vCPUs, so that drawing does not wait for it."""
        for interval in (reading.interval, reading.session.total() if totals else None):
            if interval:
                by_reason(interval)
                vcpu_rows(reading.session, interval, self._at.hidden)
        if self._at.scheduler:
            told(reading.interval, self._at.scope)
        if reading.settled and self._at.telling:
            self._found(reading)

    def frame(self, shown: Reading | None, newest: Reading | None, doing: str) -> None:
        """The lines around the body. doing: what takes a while, as a word."""
        app, at = self._app, self._at
        interval = at.interval(shown) if shown else None
        app.query_one("#header", Line).show(Text(self._feed.header(interval, app.size.width - 2), no_wrap=True))
        steps = trail(at.scope, shown.snapshot if shown else None, at.reason)
        app.query_one(Trail).show(steps, self._state(doing))
        app.query_one(Budget).show(shares(interval, at.scope) if interval else None)
        app.query_one("#panes", PaneTitles).show_pane(app.query_one(Overview).pane)
        words = [self._feed.trouble, caveats(newest.snapshot) if newest else ""]
        app.query_one("#status", Line).show(Text(", ".join(filter(None, words)), no_wrap=True))

    def _state(self, doing: str) -> str:
        at = self._at
        totals = at.since_start and not at.scheduler
        parts = [f"since start, by {BY_KEY[at.sorting].title}" if totals else self._feed.pace]
        if at.slowest or at.scheduler:
            parts.insert(0, "slowest exits" if at.slowest else "Scheduler")
        if doing:
            parts.append(doing)
        if at.leave_idle:
            parts.append("without idle")
        parts += [f"/{text}" for text in at.filters.values() if text]
        if self._feed.paused:
            parts.append("PAUSED")
        return " ".join(parts)

    def findings(self, reading: Reading) -> None:
        """What stands out in the last interval, as plain sentences; nothing while there is no time to look for it."""
        found = self._found(reading)[:FINDINGS] if reading.settled and self._at.telling else []
        sentences = (Text.assemble("! ", one.text, self._leads(one), (f"  [{one.rule}]", "dim")) for one in found)
        self._app.query_one("#findings", Line).show(Text("\n").join(sentences))

    def _leads(self, one: Finding) -> str:
        """The key that tells more, while it has not been pressed."""
        told = self._at.scheduler or self._app.query_one(SchedulerPage).recorded
        return f"; {SCHEDULER.key} tells who" if one.more == "scheduler" and not told else ""

    def _found(self, reading: Reading) -> list[Finding]:
        memo, key = reading.interval.memo, ("findings", len(reading.session.history), self._at.hidden)
        if key not in memo:
            rows = vcpu_rows(reading.session, reading.interval, self._at.hidden)
            memo[key] = findings(reading.session, reading.interval, rows, self._names(reading)) if rows else []
        found: list[Finding] = memo[key]
        return found

    def body(self, shown: Reading, newest: Reading) -> None:
        """The page that is open, or the overview."""
        # What a page needs is asked for when it is opened; while the display is held, it is still to come.
        details = shown if self._answers(shown) else newest
        if self._at.scheduler:
            self._scheduler(shown if covers(shown.interval, self._at.scope) else newest)
        elif self._at.slowest:
            page = self._app.query_one(SlowPage)
            width = page.size.width - 1
            slow = (self._slow(rows, width, details) for rows in (details.details.slow, details.details.slowest))
            page.show(*slow)
        elif self._at.reason is not None:
            self._page(shown, self._at.reason)
            if self._answers(details):
                self._details(details, self._at.reason)
        else:
            self._overview(shown)

    def _scheduler(self, reading: Reading) -> None:
        at, page = self._at, self._app.query_one(SchedulerPage)
        page.trouble = self._feed.trouble
        rows = vcpu_rows(reading.session, reading.interval, at.hidden)
        hint = "" if page.recorded else f"{MEMORY.key}: the NUMA nodes of its memory"
        if at.memory is not None:
            hint = f"on which nodes its memory is, is {'being read …' if at.memory_until else 'not known'}"
        page.show(scheduler_page(reading.interval, at.scope, rows, page.widths, at.memory or {}, hint))

    def _answers(self, reading: Reading) -> bool:
        """Whether it has details of the page that is open."""
        details = reading.snapshot.details
        return details is not None and details.look.only == self._at.reason

    def _overview(self, reading: Reading) -> None:
        at, interval, overview = self._at, self._at.interval(reading), self._app.query_one(Overview)
        reasons, vms = overview.table("reasons"), overview.table("vms")
        if width := reasons.size.width:
            lines = reading.session.lines(interval, at.scope, at.leave_idle, trend=10)
            matches = matcher(at.filters["reasons"])
            lines = ordered([line for line in lines if matches(line.reason.name)], at.sorting, at.descending)
            reasons.empty = silence(interval.after) or "no exit yet"
            if at.filters["reasons"]:
                reasons.empty = f"no reason matches {at.filters['reasons']!r}"
            reasons.show(*reason_table(lines, width), (at.sorting, at.descending))
        if width := vms.size.width:
            found = self._members(reading, interval)
            vms.show(*vcpu_table(found, at.scope, width))
        if overview.shows_chart:
            samples = list(reading.session.history)[-POINTS:]
            place = " › ".join(name for name, _ in trail(at.scope, reading.snapshot, None))
            span = f"-{units.duration(sum(sample.seconds for sample in samples) * 1e9)}"
            rates = [sample.rate(at.scope) for sample in samples]
            overview.show_rates(f"Exits a second, {place}", rates, span)

    def _members(self, reading: Reading, interval: Interval) -> list[VcpuRow]:
        found = vcpu_rows(reading.session, interval, self._at.hidden)
        if text := self._at.filters["vms"]:
            matches = matcher(text)
            found = [member for member in found if matches(member.name) or matches(member.vm)]
        return found

    def _page(self, reading: Reading, key: Key) -> None:
        page = reason_page(reading.session, self._at.interval(reading), self._at.scope, key, POINTS)
        self._app.query_one(ReasonPage).show(page)

    def _details(self, reading: Reading, key: Key) -> None:
        interval, scope, names = reading.interval, self._at.scope, self._names(reading)
        page, details = self._app.query_one(ReasonPage), reading.snapshot.details
        rows = accesses(interval, scope, TOUCHED | {CODE}, reading.details.samples)
        mine = [one for one in reading.details.slow if (one.isa, one.code) == key]
        width = page.details_width
        page.show_details(
            access_table([row for row in rows if row.kind != CODE], width, names),
            access_table([row for row in rows if row.kind == CODE], width, names),
            self._slow(mine, page.size.width - 1, reading),
            polling_table(polling(interval, scope), interval) if key in HLT else None,
            dropped(details) if details else "",
        )

    def _slow(self, rows: Sequence[Slow], width: int, reading: Reading) -> Rows:
        return slow_table(rows, width, self._names(reading))

    def _names(self, reading: Reading) -> Labels:
        return replace(self._labels, names=reading.snapshot.names)
