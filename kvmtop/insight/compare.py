"""Two recordings, or two parts of one, next to each other: what has changed, and whether it is more than chance.

A change is marked where the mean rates of the two differ by more than two standard deviations of the rates of
the single intervals, of whichever of the two varies more: inside of that, a single interval of either run could
have shown the same. Two intervals at least on each side are needed to say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import KvmtopError
from ..model.exit_stats import Reason, by_reason
from ..model.interval import diff
from ..model.selection import ALL_VMS, Selection
from ..recording.reader import Recording
from ..sanitize import clean

DEVIATIONS = 2.0
_RANGE = re.compile(r"(?P<file>.+)@(?P<begin>\d+(\.\d+)?)?\.\.(?P<end>\d+(\.\d+)?)?", re.DOTALL | re.ASCII)

Key = tuple[int, int]  # isa, code


@dataclass(frozen=True)
class RecordingSpan:
    """A stretch of a recording. All figures are of its exits only; times in ns."""

    label: str
    seconds: float
    reasons: dict[Key, Reason]
    intervals: int
    rates: dict[Key, list[float]]  # exits a second in each interval; only of reasons that it has

    @classmethod
    def read(cls, text: str, selection: Selection = ALL_VMS) -> RecordingSpan:
        """FILE or FILE@FROM..TO, in seconds from the recording's start; either may be left out. Raises KvmtopError."""
        match = None if Path(text).exists() else _RANGE.fullmatch(text)
        path = Path(match["file"] if match else text)
        begin = float((match["begin"] if match else "") or 0)
        end = float((match["end"] if match else "") or "inf")
        recording = Recording(path, selection=selection)
        try:
            return cls._of(recording, text, begin, end)
        finally:
            recording.close()

    @classmethod
    def _of(cls, recording: Recording, text: str, begin: float, end: float) -> RecordingSpan:
        # Interval n lies between the ends n and n + 1. Those that are wholly in the part count.
        ends = np.concatenate([[recording.start_ns], recording.times])
        at = (ends - recording.start_ns) / 1e9
        first, last = int(np.searchsorted(at, begin)), int(np.searchsorted(at, end, "right")) - 1
        if last <= first:
            raise KvmtopError(
                f"{text}: no whole interval lies between these seconds; the recording has {len(recording)} in"
                f" {at[-1]:.1f} s",
                2,
            )
        interval = diff(recording.at(first - 1) if first else None, recording.at(last - 1))
        seconds = np.maximum(np.diff(at[first : last + 1]), 1e-9)
        rates = {key: (counts / seconds).tolist() for key, counts in recording.counts(first, last).items()}
        return cls(clean(text), interval.seconds, {r.key: r for r in by_reason(interval)}, last - first, rates)

    @property
    def exits(self) -> float:
        """Exits a second."""
        return sum(reason.count for reason in self.reasons.values()) / self.seconds

    def rate(self, key: Key) -> float:
        """Exits a second of one reason."""
        return self.reasons[key].rate if key in self.reasons else 0.0

    def deviation(self, key: Key) -> float | None:
        """Of the intervals' rates, in exits a second; None for fewer than two."""
        if self.intervals < 2:
            return None
        return float(np.std(self.rates[key], ddof=1)) if key in self.rates else 0.0


@dataclass(frozen=True)
class Change:
    """One reason in both."""

    name: str
    before: Reason | None
    after: Reason | None
    rates: tuple[float, float]
    notable: bool | None  # None: too few intervals to tell

    @property
    def times(self) -> tuple[float, float]:
        """Outside the guest, in ns in each second."""
        return _time(self.before), _time(self.after)


def growth(before: float, after: float) -> float | None:
    """0.5 for half as much again; None where there was nothing to grow."""
    return after / before - 1 if before else None


def changes(a: RecordingSpan, b: RecordingSpan, keeps: Callable[[Reason], bool] = lambda reason: True) -> list[Change]:
    """The reasons of both that are kept, the one whose time outside the guest changed most first."""
    found = []
    for key in a.reasons.keys() | b.reasons.keys():
        if not keeps(a.reasons[key] if key in a.reasons else b.reasons[key]):
            continue
        rates = a.rate(key), b.rate(key)
        deviations = a.deviation(key), b.deviation(key)
        notable = None
        if deviations[0] is not None and deviations[1] is not None:
            notable = abs(rates[1] - rates[0]) > DEVIATIONS * max(deviations[0], deviations[1])
        before, after = a.reasons.get(key), b.reasons.get(key)
        if any(rates) or any(reason and reason.time for reason in (before, after)):
            name = (after or before).name  # type: ignore[union-attr]
            found.append(Change(name, before, after, rates, notable))
    return sorted(found, key=lambda c: (-abs(c.times[1] - c.times[0]), c.name))


def _time(reason: Reason | None) -> float:
    return reason.time_rate if reason else 0.0
