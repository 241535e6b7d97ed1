"""What is looked at, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..insight import slow_exits
from ..insight.accesses import TOUCHED
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import KINDS, DetailRequest, Key
from .feed import Reading


@dataclass
class Viewpoint:
    """A place (a scope, a reason's page in it, the page of the slowest exits, or the Scheduler page), and how it is
    shown."""

    scope: Scope = ALL
    reason: Key | None = None
    slowest: bool = False
    scheduler: tuple[Scope, ...] = ()  # its page is open: the scopes that lead back, the overview's first
    memory: Mapping[int, Mapping[int, int]] | None = None  # by pid, as Scheduling's; empty: asked for; None: is not
    sorting: str = "time"  # a column of the reasons
    descending: bool = True
    leave_idle: bool = False  # idle time out of time shares
    since_start: bool = False  # totals instead of the last interval
    telling: bool = True  # what stands out
    filters: dict[str, str] = field(default_factory=lambda: {"reasons": "", "vms": ""})  # by table
    hidden: frozenset[int] = frozenset()  # VMs that have ended and were taken off the list, by pid
    baseline: Snapshot | None = None  # from which totals and trends count; None: from the start

    @property
    def on_page(self) -> bool:
        """Whether a page covers the overview."""
        return bool(self.slowest or self.scheduler) or self.reason is not None

    def wish(self, newest: Reading) -> DetailRequest | None:
        """What the page that is open needs beside what is always counted; None where it needs nothing."""
        if self.scheduler:
            told = newest.snapshot.scheduling
            if told and told.memory and self.memory is not None:
                self.memory = self.memory or told.memory
            return DetailRequest(sched=self.scope.pid or 0, numa=self.memory == {})
        if not self.on_page:
            return None
        kinds = TOUCHED if self.slowest else frozenset(KINDS) - {""}
        return DetailRequest(kinds, self.reason, slow_exits.threshold(newest.interval, self.reason))

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
