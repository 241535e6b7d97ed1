"""What the dashboard shows, and where it comes from: a live host, or a recording that is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..insight.detail_history import DetailHistory
from ..model.interval import Interval
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import DetailRequest

POINTS = 120  # intervals in the charts


@dataclass(frozen=True)
class Reading:
    """The run up to a Snapshot. It never changes, so that one thread may read on while another shows it."""

    session: Session  # a copy that nobody adds to
    interval: Interval  # the last one
    details: DetailHistory
    settled: bool = True  # the next one is not due at once: there is time to look for what stands out
    moves: int = 0  # how often somebody has gone elsewhere: what is there need not stand where it stood before

    @property
    def snapshot(self) -> Snapshot:
        """The counters at its end."""
        return self.interval.after

    def since(self, baseline: Snapshot | None) -> Reading:
        """With totals and trends from an earlier Snapshot on; this one where they are already."""
        session = self.session.since(baseline)
        return self if session is self.session else replace(self, session=session)


class Feed(Protocol):
    """Delivers Readings from a thread of its own. All but run() may be called from any other thread."""

    goes_back: bool  # to any interval that was before

    @property
    def paused(self) -> bool:
        """Whether the display stands still."""

    @property
    def goes_on(self) -> bool:
        """Whether Readings are delivered while it is paused that shall not be shown until it goes on."""

    @property
    def trouble(self) -> str | None:
        """What has failed beside reading, which goes on, as a sentence."""

    @property
    def busy(self) -> str:
        """What holds up the next Reading, in a few words; "" where nothing does."""

    @property
    def pace(self) -> str:
        """How fast it goes, in a word or two."""

    def run(self, deliver: Callable[[Reading], None]) -> bool:
        """Deliver Readings; whether its time is over, False after stop(). Raises KvmtopError where it cannot go on."""

    def stop(self) -> None:
        """Let run() return at once."""

    def pause(self, on: bool) -> None:
        """Hold the display, or go on."""

    def faster(self, by: int) -> None:
        """So many steps faster; slower where it is negative."""

    def look(self, wish: DetailRequest | None) -> None:
        """Tell these details from the next Reading on, or none."""

    def whose(self, snapshot: Snapshot | None) -> Sequence[str]:
        """What figures are shown of, the name first; None before there is anything."""
