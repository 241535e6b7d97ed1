"""Reads a Source every interval, as long as the dashboard runs."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..insight.detail_history import DetailHistory
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.source import Source
from ..model.vocabulary import DetailRequest, isa_name
from .feed import Reading

INTERVALS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class LiveFeed:
    """A Feed of what happens now."""

    goes_back = False

    def __init__(
        self, source: Source, interval: float = 1.0, duration: float | None = None, look: DetailRequest | None = None
    ) -> None:
        """interval and duration in seconds, from now on; look: what to look at all the time."""
        self.seconds, self.paused = interval, False
        self._source, self._duration, self._look = source, duration, look
        self._session, self._details = Session(), DetailHistory()  # changed in run()'s thread alone
        self._wake, self._ending = threading.Event(), False
        self._began = time.monotonic()

    @property
    def goes_on(self) -> bool:
        """Counting does, while the display is held."""
        return self.paused

    @property
    def trouble(self) -> str | None:
        """That of its source."""
        return self._source.trouble

    @property
    def busy(self) -> str:
        """That of its source."""
        return self._source.busy

    @property
    def pace(self) -> str:
        """The interval."""
        return f"every {self.seconds:g}s"

    def whose(self, snapshot: Snapshot | None) -> Sequence[str]:
        """This host."""
        kernel = f"Linux {platform.release().split('-')[0]}"
        return [platform.node(), kernel, *([isa_name(snapshot.isa)] if snapshot else [])]

    def run(self, deliver: Callable[[Reading], None]) -> bool:
        """Read when it is due; True at the end of its duration."""
        end = self._began + self._duration if self._duration else float("inf")
        due = self._began
        while not self._ending:
            due = min(due + self.seconds, end)
            while (left := due - time.monotonic()) > 0 and not self._ending:
                if self._wake.wait(left):  # the interval was changed, or it is over
                    self._wake.clear()
                    due = min(time.monotonic() + self.seconds, end)
            if self._ending:
                break
            deliver(self.read())
            if time.monotonic() >= end:
                return True
            due = max(due, time.monotonic() - self.seconds)  # after a suspension, no volley of readings
        return False

    def read(self) -> Reading:
        """The next Reading, now. Raises KvmtopError."""
        interval = self._session.add(self._source.read())
        self._details = self._details.add(interval)
        return Reading(self._session.copy(), interval, self._details)

    def stop(self) -> None:
        """Let run() return at once."""
        self._ending = True
        self._wake.set()

    def pause(self, on: bool) -> None:
        """Hold the display; reading goes on."""
        self.paused = on

    def faster(self, by: int) -> None:
        """The next shorter interval, or the next longer one."""
        shorter = [seconds for seconds in INTERVALS if seconds < self.seconds]
        longer = [seconds for seconds in INTERVALS if seconds > self.seconds]
        for seconds in shorter[-1:] if by > 0 else longer[:1]:
            self.every(seconds)

    def every(self, seconds: float) -> None:
        """Take this interval from now on."""
        self.seconds = seconds
        self._wake.set()

    def look(self, wish: DetailRequest | None) -> None:
        """As the wish says, but never for less than what is looked at all the time."""
        always = self._look
        if wish and always:
            scheds = {one.sched for one in (wish, always) if one.sched is not None}
            sched = 0 if len(scheds) > 1 else next(iter(scheds), None)  # of two VMs, or one and all: of all
            kinds, slow_ns = wish.kinds or always.kinds, always.slow_ns or wish.slow_ns
            pids = frozenset[int]() if always.of_exits else wish.pids
            wish = replace(wish, kinds=kinds, slow_ns=slow_ns, sched=sched, pids=pids)
        self._source.look(wish or always)
