"""From a Reading and a Viewpoint to what the widgets show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.text import Text
from textual.app import App

from .. import units
from ..insight.accesses import CODE, TOUCHED, accesses
from ..insight.caveats import caveats, dropped
from ..insight.detail_history import SLOWEST
from ..insight.finding import Finding
from ..insight.findings import findings
from ..insight.halt_polling import polling
from ..insight.slow_exits import Slow, in_scope
from ..insight.stacks import spent
from ..insight.vcpus import shares, vcpu_rows
from ..model.exit_stats import by_reason
from ..model.history import Sample
from ..model.interval import Interval
from ..model.reasons import HLT, INTERRUPT, basic
from ..model.scope import ALL
from ..model.vocabulary import Key, level, looks_at
from ..reference.labels import Labels
from ..tables import price
from ..tables.accesses import access_table
from ..tables.exit_reasons import BY_KEY
from ..tables.finding_line import finding_lines
from ..tables.guest_profile import profile_table
from ..tables.halt_polling import polling_table
from ..tables.header import trail
from ..tables.icicle import icicle
from ..tables.reason_page import page as reason_page
from ..tables.rows import Rows
from ..tables.scheduler_page import covers, told
from ..tables.scheduler_page import page as scheduler_page
from ..tables.slow_exits import slow_table
from ..tables.spread import Held
from ..tables.timeline_page import Pages
from ..tables.timeline_view import Book
from ..tables.title import figures
from ..widgets.area import Area
from ..widgets.breadcrumbs import Trail
from ..widgets.line import Line
from ..widgets.links import Links
from ..widgets.overview import Overview
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import NOT_LOOKED, SlowPage
from ..widgets.table import Marked
from ..widgets.time_bar import Budget
from ..widgets.timeline_page import TimelinePage
from .feed import POINTS, Feed, Reading
from .glance import Glance
from .keys import DIAGNOSE, MEMORY, SCHEDULER
from .viewpoint import Viewpoint

LONG = 5.0  # s: of an interval that is said to be so, where a recording was thinned
_LEVELS = "what they touched, and from where, is of this guest's exits and of its guest's"

HALF_ANSWERS = ("vmm", "kvm")  # rules that say where the time goes, and not why


class Presenter:
    """Fills the widgets of the dashboard, those that are seen."""

    def __init__(self, app: App[Any], feed: Feed, at: Viewpoint, labels: Labels) -> None:
        """labels: the names of what exits touch."""
        self._app, self._feed, self._at, self.labels = app, feed, at, labels
        self.found: list[Finding] = []  # those of the line, as their links number them
        self.glance = Glance(app, at, steady=True)
        self._waking, self._pages = Held(), Pages()

    def prepare(self, reading: Reading, totals: bool) -> None:
        """In another thread: what takes long with thousands of vCPUs, so that drawing does not wait for it."""
        for interval in (reading.interval, reading.session.total() if totals else None):
            if interval:
                by_reason(interval)
                vcpu_rows(reading.session, interval, self._at.hidden)
        if self._at.scheduler:
            told(reading.interval, self._at.scope)
        if self._at.timeline:
            self._book(reading)
        if reading.settled:
            self._found(reading)

    def frame(self, shown: Reading | None, newest: Reading | None, doing: str) -> None:
        """The lines around the body. doing: what takes a while, as a word."""
        app, at = self._app, self._at
        interval = at.interval(shown) if shown else None
        whose = self._feed.whose(shown.snapshot if shown else None)
        (all_vms, top), *deeper = trail(at.scope, shown.snapshot if shown else None, at.reason)
        steps: list[tuple[str, object]] = [(whose[0], top)]
        if at.on_page and at.scope == ALL:
            steps.append((all_vms, top))
        told = figures(interval, at.scope) if interval else [("", "starting …")]
        page = "slowest exits" if at.slowest else "Scheduler" if at.scheduler else "timeline" if at.timeline else ""
        steps += [*deeper, *([(page, top)] if page else [])]
        app.query_one(Trail).show(steps, whose[1:] if len(steps) == 1 else (), told, self._state(doing, interval))
        self._time(shown, interval)
        words = [self._feed.trouble, caveats(newest.snapshot) if newest else ""]
        app.query_one("#status", Line).show(Text(", ".join(filter(None, words)), no_wrap=True))

    def _time(self, shown: Reading | None, interval: Interval | None) -> None:
        """Where it goes: over time where there is room for that, else now."""
        area, scope = self._app.query_one("#area", Area), self._at.scope
        self._app.query_one(Budget).show(shares(interval, scope) if interval else None)
        if area.size.width and shown:
            samples = list(shown.session.history)
            now = shown.snapshot.time_ns
            began = [(one.since, one.state) for one in self.found if one.since and scope.covers(one.scope)]
            marks = [(_at(samples, since.ns), state) for since, state in began if not since.longer]
            area.show(
                [one.states(scope) for one in samples],
                [one.seconds for one in samples],
                [(at, state) for at, state in marks if at is not None],
                _at(samples, now) if self._feed.goes_back else None,
            )

    def _state(self, doing: str, interval: Interval | None) -> list[tuple[str, str]]:
        at = self._at
        totals = at.since_start and not at.scheduler
        found = [("", f"since start, by {BY_KEY[at.sorting].title}")] if totals else [("", self._feed.pace)]
        found += [("", words) for words in (doing, self._feed.busy) if words]
        found += [("", f"/{text}") for text in at.filters.values() if text]
        found += [("PAUSED", "")] if self._feed.paused else []
        if interval and self._feed.goes_back and not totals and interval.seconds >= LONG:
            found.append((f"interval {units.age(round(interval.seconds))}", ""))
        if interval:
            found.append((units.clock(interval.after.time_ns - interval.after.start_ns), ""))
        if interval and (own := interval.after.price):  # last: what is left of it gives way first
            found.append(("", price.words(own) if self._app.size.width >= price.WIDE else price.short(own)))
        return found

    def findings(self, reading: Reading) -> None:
        """What stands out in the last interval; nothing while there is no time to look for it."""
        at, links = self._at, self._app.query_one(Links)
        here, elsewhere = self._found(reading) if reading.settled else ([], [])
        self.found = [*here, *elsewhere]
        keys, walking = [one.key for one in self.found], self._app.focused is links
        chosen = at.walked if walking else at.finding
        shown = keys.index(chosen) if chosen in keys else 0 if here else None
        if walking:
            at.walked = keys[shown] if shown is not None else None
        more = self._leads(self.found[shown]) if shown is not None else ("", "")
        width, now = self._app.size.width - 2, reading.snapshot.time_ns
        links.show(finding_lines(self.found, shown, width, now, walking, more))
        if walking and not keys:
            self._app.query_one(Overview).focus_table()
        self._mark()

    def _mark(self) -> None:
        """The figures that the finding rests on to which somebody went."""
        overview = self._app.query_one(Overview)
        one = next((one for one in self.found if one.key == self._at.finding), None)
        for id, key in (("reasons", one and one.reason), ("vms", one and one.scope)):
            overview.table(id).marked = Marked(key, one.figures, one.state) if one and key else None

    def _leads(self, one: Finding) -> tuple[str, str]:
        """The key that tells more, while it has not been pressed, and what of."""
        told = self._at.scheduler or self._app.query_one(SchedulerPage).recorded
        if one.more == "scheduler" and not told:
            return SCHEDULER.key, " tells who"
        asks = one.name in HALF_ANSWERS and not self._at.on_page and not self._feed.goes_back
        return (DIAGNOSE.key, " tells why") if asks else ("", "")

    def _found(self, reading: Reading) -> tuple[list[Finding], list[Finding]]:
        """In the scope, and elsewhere."""
        at, memo = self._at, reading.interval.memo
        key = "findings", len(reading.session.history), at.hidden, at.scope, at.limits
        if key not in memo:
            rows = vcpu_rows(reading.session, reading.interval, at.hidden)
            of = partial(findings, reading.session, reading.interval, rows, self._names(reading), at.limits)
            here = of(at.scope) if rows else []
            known = {one.key for one in here}
            memo[key] = here, [one for one in of() if one.key not in known] if rows and at.scope != ALL else []
        found: tuple[list[Finding], list[Finding]] = memo[key]
        return found

    def body(self, shown: Reading, newest: Reading) -> None:
        """The page that is open, or the overview."""
        # What a page needs is asked for when it is opened; while the display is held, it is still to come.
        details = shown if self._answers(shown) else newest
        if self._at.scheduler:
            self._scheduler(shown if covers(shown.interval, self._at.scope) else newest)
        elif self._at.timeline:
            timeline = self._app.query_one(TimelinePage)
            timeline.trouble = self._feed.trouble
            timeline.show(self._book(shown if shown.snapshot.timeline else newest))
        elif self._at.slowest:
            page = self._app.query_one(SlowPage)
            slow, slowest = (
                self._slow(rows, page.width, details) for rows in (details.details.slow, details.details.slowest)
            )
            looked = details.snapshot.details
            page.show(slow, slowest, looked is not None and looked.has_slow(self._at.scope.pid))
        elif self._at.reason is not None:
            self._page(shown, self._at.reason)
            if self._answers(details):
                self._details(details, self._at.reason)
            elif self._feed.goes_back:
                self._app.query_one(ReasonPage).not_looked(self._of_stacks(details, self._at.reason))
            self._stacks(details, self._at.reason)
        else:
            self.glance.show(shown, self._names(shown), {one.scope.pid for one in self.found})

    def lower(self, shown: Reading) -> None:
        """What the cursor is on now."""
        self.glance.lower(shown, self._names(shown))

    def _scheduler(self, reading: Reading) -> None:
        at, page = self._at, self._app.query_one(SchedulerPage)
        page.trouble = self._feed.trouble
        rows = vcpu_rows(reading.session, reading.interval, at.hidden)
        hint = "" if page.recorded else f"{MEMORY.key}: the NUMA nodes of its memory"
        if at.memory is not None:
            hint = f"on which nodes its memory is, is {'being read …' if at.memory_until else 'not known'}"
        told = reading.snapshot.scheduling
        memory = at.memory or (told.memory if told else {})
        page.show(scheduler_page(reading.interval, at.scope, rows, page.widths, memory, hint, self._waking))

    def _book(self, reading: Reading) -> Book | None:
        memo, key = reading.interval.memo, ("timeline", self._at.scope.pid)
        if key not in memo:
            memo[key] = self._pages.book(reading.snapshot, self._at.scope.pid, self._names(reading))
        found: Book | None = memo[key]
        return found

    def _answers(self, reading: Reading) -> bool:
        """Whether it has details of the page that is open."""
        details = reading.snapshot.details
        return details is not None and self._of(details.look.only, self._at.reason, details.look.pids)

    def _of(self, only: Key | None, key: Key | None, pids: frozenset[int]) -> bool:
        """Whether a look is at a page's reason and VMs; one that was recorded may be at all reasons."""
        return looks_at(pids, self._at.scope.pid) and (only == key or (self._feed.goes_back and only is None))

    def _of_stacks(self, reading: Reading, key: Key) -> bool:
        stacks = reading.snapshot.stacks
        return stacks is not None and self._of(stacks.only, key, stacks.pids)

    def _page(self, reading: Reading, key: Key) -> None:
        page = self._app.query_one(ReasonPage)
        interval = self._at.interval(reading)
        page.show(reason_page(reading.session, interval, self._at.scope, key, POINTS, page.who_width))

    def _details(self, reading: Reading, key: Key) -> None:
        interval, scope, names = reading.interval, self._at.scope, self._names(reading)
        page, details = self._app.query_one(ReasonPage), reading.snapshot.details
        rows = accesses(interval, scope, TOUCHED | {CODE}, reading.details.samples, fold=True)
        mine = [one for one in reading.details.slow if (one.isa, one.code) == key]
        width, sampled = page.details_width, basic(*key) in INTERRUPT
        of_all = details is not None and details.look.only is None
        notes = [
            _LEVELS if level(key[0]) else "",
            "what was touched, and from where, is of all exits: nobody looked at these alone" if of_all else "",
            dropped(details) if details else "",
        ]
        page.show_details(
            access_table([row for row in rows if row.kind != CODE], width, names),
            profile_table(interval, scope, names, width)
            if sampled
            else access_table([row for row in rows if row.kind == CODE], width, names),
            self._slow(mine, page.slow_width, reading),
            polling_table(polling(interval, scope), interval) if basic(*key) in HLT else None,
            "; ".join(filter(None, notes)),
            sampled,
        )

    def _stacks(self, reading: Reading, key: Key) -> None:
        page, recorded = self._app.query_one(ReasonPage), self._feed.goes_back
        if self._of_stacks(reading, key):
            found = next((one for one in spent(reading.snapshot, self._at.scope) if one.key == key), None)
            unnamed = reading.snapshot.stacks.unnamed if reading.snapshot.stacks else ""
            page.show_stacks(icicle(found, "somebody looked" if recorded else "the page was opened", unnamed))
        elif self._answers(reading):  # what else was asked for is there
            page.no_stacks(NOT_LOOKED if recorded else self._feed.trouble or "")

    def _slow(self, rows: Sequence[Slow], width: int, reading: Reading) -> Rows:
        mine = in_scope(rows, self._at.scope, reading.snapshot)[:SLOWEST]
        return slow_table(mine, width, self._names(reading), reading.snapshot.time_ns)

    def _names(self, reading: Reading) -> Labels:
        return replace(self.labels, names=reading.snapshot.names)


def _at(samples: Sequence[Sample], ns: int) -> int | None:
    """Which interval an instant is in; None: it is before all of them."""
    if not samples or ns < samples[0].time_ns - round(samples[0].seconds * 1e9):
        return None
    return next((at for at, one in enumerate(samples) if one.time_ns >= ns), None)
