"""Moving about in the dashboard: scopes, pages, panes, findings, and back."""

from __future__ import annotations

import time

from textual import events, on

from ..insight.finding import Finding
from ..model.keys import pack
from ..model.scope import ALL, Scope
from ..model.vocabulary import Key
from ..tables.slow_exits import row_key
from ..widgets.bands import Bands
from ..widgets.breadcrumbs import CrumbClicked
from ..widgets.filter_field import Filtered, FilterField
from ..widgets.links import Followed, Links
from ..widgets.overview import PANES, Overview, PaneClicked
from ..widgets.program import Program
from ..widgets.reason_page import ReasonPage
from ..widgets.scheduler_page import SchedulerPage
from ..widgets.slow_page import SlowPage
from ..widgets.table import Selected, Table
from ..widgets.timeline_page import ReasonAsked, TimelinePage
from .feed import Feed, Reading
from .presenter import Presenter
from .viewpoint import Instant, Viewpoint

MARK = range(1, 3)  # characters of a VM's row in which a click folds it
PAGES = ("#body", "ReasonPage", "SlowPage", "SchedulerPage", "TimelinePage")
OF_TABLES = ("filter", "columns", "mark", "step_sort")  # actions that do nothing on a page


class Moving(Program):
    """The keys and clicks that change the place of a Viewpoint; Dashboard draws it."""

    feed: Feed
    viewpoint: Viewpoint
    presenter: Presenter
    shown: Reading | None
    newest: Reading | None

    def redraw(self) -> None:
        """Bring every visible widget up to date."""
        raise NotImplementedError

    def look(self) -> None:
        """Ask for what the page that is open shows, and for nothing else."""
        if self.newest:
            self.feed.look(self.viewpoint.wish(self.newest))

    def go(self, scope: Scope, reason: Key | None = None, finding: object = None) -> None:
        """Look at a scope, or at one reason in it."""
        self.viewpoint.go(scope, reason, finding=finding)
        self.arrive()

    def arrive(self) -> None:
        """Show the place that the viewpoint has gone to."""
        at, overview = self.viewpoint, self.query_one(Overview)
        self.query_one(FilterField).close()  # Escape undoes this step before the filter
        self.look()
        if at.scheduler:
            self._turn_to("SchedulerPage")
            self.query_one(SchedulerPage).begin(at.scope)
        elif at.timeline:
            self._turn_to("TimelinePage")
            timeline = self.query_one(TimelinePage)
            timeline.begin(at.timeline, at.timeline.thread, at.timeline.exit)
            self.screen.set_focus(timeline.query_one(Bands))
        elif at.on_page:
            page = self.query_one(SlowPage if at.slowest else ReasonPage)
            self._turn_to(type(page).__name__)
            if isinstance(page, ReasonPage):
                page.clear_details()
                page.scroll_home(animate=False)
            self.screen.set_focus(page)
        else:
            self._turn_to("#body")
            overview.focus_table()
        if self.shown:
            self.presenter.findings(self.shown)
        self.refresh_bindings()
        self.call_after_refresh(self.redraw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One key does one thing on the Scheduler page and another elsewhere; Escape is told where it does anything."""
        at = self.viewpoint
        if action in ("memory", "mark") and at.scheduler != (action == "memory"):
            return False
        if action == "turn" and at.reason is None:
            return False
        if at.on_page and (action in OF_TABLES or (action == "pane" and not at.scheduler)):
            return False
        if (action, parameters) == ("sort", ("reason",)) and at.reason is not None:
            return False
        if action == "undo":
            leads = at.past or any(at.filters.values()) or self.query_one(Overview).whole
            return bool(leads or isinstance(self.focused, Links))
        return super().check_action(action, parameters)

    def _turn_to(self, shown: str) -> None:
        for page in PAGES:  # a class around them would style all anew
            self.query_one(page).display = page == shown
        for line in ("#area", "#budget"):  # a page has all the room
            self.query_one(line).set_class(shown != "#body", "-off")

    @on(Selected, "#reasons")
    def _open_reason(self, event: Selected) -> None:
        self.go(self.viewpoint.scope, event.key)  # type: ignore[arg-type]

    @on(Selected, "#vcpus")
    def _open_vcpu(self, event: Selected) -> None:
        if event.key != self.viewpoint.scope:
            self.viewpoint.go(event.key, scheduler=True)  # type: ignore[arg-type]
            self.arrive()

    @on(Selected, "#vms")
    @on(Selected, "#who")
    def _open_member(self, event: Selected) -> None:
        if event.table.id == "vms" and event.x in MARK and event.key == Scope(event.key.pid):  # type: ignore[attr-defined]
            self.action_fold()
        elif self.viewpoint.on_page or event.key != self.viewpoint.scope:
            self.go(event.key)  # type: ignore[arg-type]
        elif event.x is None and not self.query_one(Overview).whole:  # it is what is looked at already
            self.action_show_pane("detail")

    @on(Selected, "#slow-interval")
    @on(Selected, "#slow-run")
    @on(Selected, "#slow")
    @on(Selected, "#its-slowest")
    def _open_slow_exit(self, event: Selected) -> None:
        """What was around it, if that is kept."""
        for reading in (self.shown, self.newest):
            found = (*reading.details.slow, *reading.details.slowest) if reading else ()
            one = next((one for one in found if row_key(one) == event.key), None)
            if one:
                thread = pack(one.pid, one.tid)
                instant = Instant(thread, (thread, one.ended_ns - one.ns, one.ended_ns))
                self.viewpoint.go(Scope(one.pid), timeline=instant)
                self.arrive()
                return

    @on(ReasonAsked)
    def _reason_of_exit(self, event: ReasonAsked) -> None:
        self.go(self.viewpoint.scope, event.key)

    @on(CrumbClicked)
    def _go_back_to(self, event: CrumbClicked) -> None:
        self.go(*event.target)  # type: ignore[misc]

    @on(PaneClicked)
    def _pane_clicked(self, event: PaneClicked) -> None:
        self.action_show_pane(event.pane)

    def action_undo(self) -> None:
        """What was done last: a filter, a page, a scope."""
        at = self.viewpoint
        if isinstance(self.focused, Links):  # it leads nowhere, after all
            at.walked = None
            self.arrive()
        elif self.query_one(FilterField).is_open:
            self.post_message(Filtered("", True))
        elif self.query_one(Overview).whole and not at.on_page:
            self.action_show_pane(self.query_one(Overview).filtered)
        elif at.undo():
            self.arrive()

    def action_up(self) -> None:
        """From a page to what it is about, from there to the vCPU's VM, and to all."""
        at = self.viewpoint
        if at.on_page:
            self._close()
        elif at.scope != ALL:
            self.go(ALL if at.scope.thread is None else Scope(at.scope.pid))

    def _close(self) -> None:
        self.viewpoint.close()
        self.arrive()

    def action_slow(self) -> None:
        """The slowest exits, or back from them."""
        at = self.viewpoint
        if at.slowest:
            at.undo()
        else:
            at.go(at.scope, slowest=True)
        self.arrive()

    def action_scheduler(self) -> None:
        """Who has the CPU instead of the vCPUs of this scope, or of the one under the cursor; or back from there."""
        at = self.viewpoint
        if at.scheduler:
            at.close()
        else:
            at.go(self._under_cursor() or at.scope, scheduler=True)
        self.arrive()

    def action_timeline(self) -> None:
        """Every single exit of the VM of this scope, or of the one under the cursor; or back from there."""
        at, scope = self.viewpoint, self._under_cursor() or self.viewpoint.scope
        if at.timeline:
            at.undo()
            self.arrive()
        elif self.feed.goes_back:
            self.notify("Recordings do not hold the timeline yet: single exits are seen live, or by kvmtop trace.")
        elif scope.pid is None:
            self.notify("Move to a VM or vCPU first: the timeline is of one VM.")
        else:
            at.go(Scope(scope.pid), timeline=Instant(self._thread(scope)))
            self.arrive()

    def _thread(self, scope: Scope) -> int | None:
        """Of a vCPU, tgid and tid, packed."""
        snapshot = self.shown.snapshot if self.shown else None
        mask = scope.mask(snapshot) if snapshot and scope.thread is not None else None
        found = snapshot.threads["id"][mask].tolist() if snapshot and mask is not None else []
        return found[0] if found else None

    def _under_cursor(self) -> Scope | None:
        """The VM or vCPU under the cursor, where its table has the keys."""
        overview = self.query_one(Overview)
        cursor = overview.table("vms").cursor
        there = self.focused in (overview.table("vms"), overview.lower) and overview.filtered == "vms"
        return cursor if there and isinstance(cursor, Scope) else None

    def action_this_vm(self) -> None:
        """Nothing but the VM under the cursor, or all again; the keys stay where they are."""
        at, cursor = self.viewpoint, self.query_one(Overview).table("vms").cursor
        if at.scope != ALL:
            self.go(ALL)
        elif isinstance(cursor, Scope):
            self.go(Scope(cursor.pid))

    def action_fold(self) -> None:
        """The vCPUs of the VM under the cursor go, or come back."""
        vms = self.query_one(Overview).table("vms")
        if isinstance(vms.cursor, Scope) and vms.cursor.pid is not None:
            vms.point_at(Scope(vms.cursor.pid))
            self.presenter.glance.folding.turn(vms.cursor.pid)
            self.redraw()

    def action_turn(self, by: int) -> None:
        """On a reason's page: another one, in the order of the table."""
        reasons = self.query_one(Overview).table("reasons")
        if self.viewpoint.reason is not None:
            reasons.point_at(self.viewpoint.reason)
            reasons.action_move(by)
            self.viewpoint.reason = reasons.cursor  # type: ignore[assignment]
            self.arrive()

    def action_mark(self) -> None:
        """The VM or vCPU under the cursor, with which others are compared then; the same once more: none."""
        cursor = self._under_cursor()
        if cursor is None:
            self.notify("Move to a VM or vCPU first; the one that is marked is compared with the one under the cursor.")
            return
        self.viewpoint.marked = None if cursor == self.viewpoint.marked else cursor
        self.redraw()

    # Findings

    def action_findings(self) -> None:
        """The next one, to which Enter goes; at once where there is no room for its line."""
        at, found, links = self.viewpoint, self.presenter.found, self.query_one(Links)
        if not found or not self.shown:
            self.notify("Nothing stands out by the rules.")
            return
        keys, last = [one.key for one in found], at.walked if self.focused is links else None
        if not links.display:
            last = at.finding
        at.walked = keys[(keys.index(last) + 1) % len(keys) if last in keys else 0]
        if not links.display:
            self._follow(found[keys.index(at.walked)])
            return
        self.screen.set_focus(links)
        self.presenter.findings(self.shown)

    @on(Followed)
    def _followed(self, event: Followed) -> None:
        self._follow(self.presenter.found[event.target])

    def _follow(self, one: Finding) -> None:
        """Go to what it is about, and mark the figures that it rests on."""
        self.viewpoint.go(one.scope, finding=one.key)
        self.viewpoint.filters = dict.fromkeys(self.viewpoint.filters, "")  # it may be what they leave out
        if one.scope.thread is not None:
            self.presenter.glance.folding.open(one.scope.pid)
        self.arrive()
        self.action_show_pane("reasons" if one.reason else "vms")
        for table, key in (("vms", one.scope), ("reasons", one.reason)):
            self.call_after_refresh(self.query_one(Overview).table(table).point_at, key)

    # Panes

    def action_memory(self) -> None:
        """Read on which NUMA nodes memory is; once, since that is dear."""
        if self.viewpoint.scheduler and self.newest:
            self.viewpoint.ask_for_memory(self.newest)
            self.look()
            self.action_show_pane("vcpus")

    def action_pane(self, by: int) -> None:
        """The next pane: focus where all are seen, another pane where one is."""
        if self.viewpoint.scheduler:
            self.action_show_pane(self.query_one(SchedulerPage).beside(by))
        elif not self.viewpoint.on_page:
            self.action_show_pane(self.query_one(Overview).beside(by))

    def action_show_pane(self, pane: str) -> None:
        """Show and focus a pane; one of the overview's closes the page that is open."""
        if pane == "slow":
            self.action_slow()
            return
        if pane in PANES and self.viewpoint.on_page:
            self._close()
        if pane in PANES:
            overview = self.query_one(Overview)
            overview.turn_to(overview.filtered if overview.whole and pane == "detail" else pane)
        else:
            self.query_one(SchedulerPage).turn_to(pane)
        self.call_after_refresh(self.redraw)

    def _pointed(self) -> None:
        """The lower pane follows the cursor."""
        if self.is_running and self.shown and not self.viewpoint.on_page:
            self.presenter.lower(self.shown)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """And the table that has the keys."""
        if isinstance(event.widget, Table):
            self._pointed()

    def on_key(self, event: events.Key) -> None:
        """While somebody presses keys, rows stay where they are."""
        if not self.is_running:  # its widgets go first when it ends
            return
        if isinstance(self.focused, FilterField) and event.time < self.focused.asked:
            # Textual looks up what a key does for who has the focus by the time that its widget has let it pass: Home,
            # pressed before /, would move in the field.
            event.prevent_default()
        if steady := self.presenter.glance.steady:
            steady.pressed = time.monotonic()
