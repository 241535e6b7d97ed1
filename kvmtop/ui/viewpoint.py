"""What is looked at, and how."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..insight import slow_exits
from ..insight.accesses import TOUCHED
from ..insight.finding import USUAL, Limits
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import KINDS, DetailRequest, Key
from .feed import Reading

PAST = 100  # steps
KEPT, KEPT_OF_ALL = 2, 20  # slow exits a second whose surroundings are kept: on the timeline, on the page of slow exits
MEMORY_NS = 60_000_000_000  # for so long, memory is asked for


@dataclass(frozen=True, eq=False)
class Instant:
    """Where the timeline is opened: at a vCPU's thread (tgid and tid, packed; None: any), or at an exit of it."""

    thread: int | None = None
    exit: tuple[int, int, int] | None = None  # the thread again, begin, end (ns, CLOCK_MONOTONIC)


@dataclass
class Viewpoint:
    """A place (a scope, a reason's page in it, the page of the slowest exits, the Scheduler page, or the timeline), how
    it is shown, and the way that led there."""

    scope: Scope = ALL
    reason: Key | None = None
    slowest: bool = False
    scheduler: bool = False  # its page is open
    timeline: Instant | None = None  # the same
    finding: object = None  # whose figures are marked: Finding.key
    memory: Mapping[int, Mapping[int, int]] | None = None  # by pid, as Scheduling's; None: nobody has asked
    memory_until: int = 0  # CLOCK_MONOTONIC, ns: when to ask for it no longer; 0 while it is not asked for
    sorting: str = "time"  # a column of the reasons
    descending: bool = True
    idle: bool = False  # idle reasons count like any other
    since_start: bool = False  # totals instead of the last interval
    walked: object = None  # the finding that the next Enter goes to: Finding.key
    marked: Scope | None = None  # what is compared with the row under the cursor
    limits: Limits = USUAL  # from where on something stands out
    filters: dict[str, str] = field(default_factory=lambda: {"reasons": "", "vms": ""})  # by table
    # Columns by table, from the left; none: kvmtop's choice.
    columns: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"reasons": (), "vms": ()})
    panes: tuple[str, ...] = ()  # that are seen; none: all
    hidden: frozenset[int] = frozenset()  # VMs that have ended and were taken off the list, by pid
    baseline: Snapshot | None = None  # from which totals and trends count; None: from the start
    past: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=PAST))  # to which undo() leads back

    @property
    def on_page(self) -> bool:
        """Whether a page covers the overview."""
        return self.slowest or self.scheduler or self.timeline is not None or self.reason is not None

    def go(
        self,
        scope: Scope,
        reason: Key | None = None,
        *,
        slowest: bool = False,
        scheduler: bool = False,
        timeline: Instant | None = None,
        finding: object = None,
    ) -> None:
        """To another place, from where undo() leads back."""
        self.remember()
        self.timeline = timeline
        self.scope, self.reason, self.slowest, self.scheduler, self.finding = scope, reason, slowest, scheduler, finding
        self.memory, self.memory_until = None, 0

    def remember(self) -> None:
        """This is where undo() leads back to."""
        self.past.append(self._now())

    def _now(self) -> tuple[Any, ...]:
        pages = self.slowest, self.scheduler, self.timeline
        return self.scope, self.reason, pages, self.finding, dict(self.filters)

    def undo(self) -> bool:
        """What was done last: a filter, a page, a scope; at last the filter that it began with. False: nothing was."""
        now = self._now()
        while self.past and self.past[-1] == now:  # a filter was asked for and left as it was
            self.past.pop()
        if self.past:
            self.scope, self.reason, pages, self.finding, self.filters = self.past.pop()
            self.slowest, self.scheduler, self.timeline = pages
        elif any(self.filters.values()):
            self.filters = dict.fromkeys(self.filters, "")
        return now != self._now()

    def close(self) -> None:
        """The page that is open, and those under it."""
        while self.on_page and self.past:
            self.undo()

    def ask_for_memory(self, newest: Reading) -> None:
        """From now on, and anew."""
        self.memory, self.memory_until = {}, newest.snapshot.time_ns + MEMORY_NS

    def wish(self, newest: Reading) -> DetailRequest | None:
        """What the page that is open needs beside what is always counted; None where it needs nothing."""
        if self.scheduler:
            if self.memory_until:
                self._remember(newest.snapshot)
            return DetailRequest(sched=self.scope.pid or 0, numa=bool(self.memory_until))
        if not self.on_page:
            return None
        if self.timeline or self.slowest:
            most = KEPT if self.timeline else KEPT_OF_ALL
            around = self.scope.pid or 0, slow_exits.threshold(newest.interval, most=most)
            if self.timeline:
                return DetailRequest(timeline=around)
        else:
            around = None
        kinds = TOUCHED if self.slowest else frozenset(KINDS) - {""}
        threshold = slow_exits.threshold(newest.interval, self.reason)
        return DetailRequest(kinds, self.reason, threshold, stacks=not self.slowest, timeline=around)

    def _remember(self, snapshot: Snapshot) -> None:
        """Of each VM once on which nodes its memory is: it comes one by one, may not be had, and is dear to read."""
        told = snapshot.scheduling.memory if snapshot.scheduling else {}
        self.memory = {**(self.memory or {}), **told}
        vms = {vm.pid for vm in snapshot.vms.values() if not vm.ended and self.scope.pid in (None, vm.pid)}
        if vms <= self.memory.keys() or snapshot.time_ns >= self.memory_until:
            self.memory_until = 0

    def adapted(self, reading: Reading) -> Reading:
        """As it is seen from here, since the baseline; since the start, before that in a recording. From any thread."""
        baseline = self.baseline
        return reading.since(None if baseline and baseline.time_ns > reading.snapshot.time_ns else baseline)

    def arrived(self, reading: Reading) -> Reading:
        """The same where it is shown: whoever has gone back before the baseline, in a recording, has none any more."""
        if self.baseline and self.baseline.time_ns > reading.snapshot.time_ns:
            self.baseline = None
        return self.adapted(reading)

    def interval(self, reading: Reading) -> Interval:
        """The interval whose figures are shown."""
        return (reading.session.total() if self.since_start else None) or reading.interval
