"""Two recordings, or two parts of one, next to each other: what has changed, and whether it is more than chance.

Both are cut into pieces of the same length (an interval, or more where there are many; in a store that was thinned,
older intervals are longer), and the rate, the time and the percentiles of a reason in the pieces of the one are held
against those in the pieces of the other: by a t test of their logarithms, which stands for bursts and rare reasons as
for steady ones. What a test finds counts if it is large enough to care for. A rate or time that is a hundredfold in
all counts without a test, which one burst would fail; where there are fewer than five pieces nothing but a tenfold
change does, as no test tells these from chance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from ..errors import KvmtopError
from ..model.exit_stats import Reason, by_reason
from ..model.interval import Interval, diff
from ..model.keys import unpack
from ..model.reasons import HLT, basic
from ..model.selection import ALL_VMS, Selection
from ..recording.store import Store
from ..sanitize import clean
from .chance import p_value

LEVEL = 0.002  # of each of four tests: fewer than 1 % of the reasons that did not change are marked
LEAST, MOST = 5, 16  # pieces on each side
USUAL, WHOLE = 0.9, 0.95  # shares of the time, and of a piece
EFFECT, SHIFT = 1.1, 1.25  # of rates and times; of percentiles, which lie in buckets of up to 1.22
HUNDREDFOLD, TENFOLD, EXITS = 100.0, 10.0, 100
_RANGE = re.compile(r"(?P<file>.+)@(?P<begin>[^@]*?)\.\.(?P<end>[^@]*)", re.DOTALL)
_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)
PERCENTILES = {"p50": (0.5, 10), "p99": (0.99, 100)}  # share, and the exits of a piece that tell it


Reasons = Mapping[Hashable, Reason]  # by its key; or of a VM, by its name, all of its reasons as one
Keeps = Callable[[Reason], bool]


@dataclass(frozen=True)
class RecordingSpan:
    """A stretch of a recording. All figures are of its exits only; times in ns."""

    label: str
    seconds: float
    reasons: Reasons
    path: Path
    selection: Selection
    first: int  # of the recording's intervals
    lengths: tuple[float, ...]  # s, of each
    of_vms: Keeps | None = None

    @classmethod
    def read(cls, text: str, selection: Selection = ALL_VMS, of_vms: Keeps | None = None) -> RecordingSpan:
        """FILE or DIR, also with @FROM..TO: seconds from its start, or moments; either may be left out.

        of_vms: in place of each reason a VM, with all of its exits that this keeps, but halts. Raises KvmtopError.
        """
        match = None if Path(text).exists() else _RANGE.fullmatch(text)
        path = Path(match["file"] if match else text)
        begin, end = (match["begin"], match["end"]) if match else ("", "")
        recording = Store(path, selection=selection)
        try:
            if all(not one or _SECONDS.fullmatch(one) for one in (begin, end)):
                first, last = _seconds(recording, float(begin or 0), float(end or "inf"), text)
            else:
                for one in (begin, end):  # that which is neither is to be named
                    if one and not _SECONDS.fullmatch(one):
                        recording.moment(one)
                first, last = recording.range(begin, end)
            seconds, reasons = _between(recording, first, last, of_vms)
            lengths = ((recording.times - recording.begins)[first:last] / 1e9).tolist()
            return cls(clean(text), seconds, reasons, path, selection, first, tuple(lengths), of_vms)
        finally:
            recording.free()

    @property
    def exits(self) -> float:
        """Exits a second."""
        return sum(reason.count for reason in self.reasons.values()) / self.seconds

    def rate(self, key: Hashable) -> float:
        """Exits a second of one reason, or VM."""
        return self.reasons[key].rate if key in self.reasons else 0.0

    @property
    def intervals(self) -> int:
        """How many."""
        return len(self.lengths)

    @property
    def usual(self) -> float:
        """Seconds of an interval than which a tenth of the time is in longer ones."""
        lengths = np.sort(self.lengths)
        return float(lengths[np.searchsorted(np.cumsum(lengths), USUAL * lengths.sum())])

    def cuts(self, seconds: float) -> list[tuple[int, int]]:
        """Its intervals in pieces of about so many seconds, first and last + 1 of each; the rest is in none."""
        ends = np.cumsum(self.lengths)
        found, at = list[tuple[int, int]](), 0
        while at < len(ends):
            begin = float(ends[at - 1]) if at else 0.0
            end = min(int(np.searchsorted(ends, begin + seconds)), len(ends) - 1)
            if end > at and begin + seconds - ends[end - 1] < ends[end] - begin - seconds:
                end -= 1  # which is nearer
            if ends[end] - begin >= WHOLE * seconds:
                found.append((self.first + at, self.first + end + 1))
            at = end + 1
        return found

    def pieces(self, cuts: Sequence[tuple[int, int]]) -> list[tuple[float, Reasons]]:
        """Its reasons in these pieces, each with its length in seconds. Raises KvmtopError."""
        recording = Store(self.path, selection=self.selection)
        try:
            return [_between(recording, *cut, self.of_vms) for cut in cuts]
        finally:
            recording.free()


def _seconds(recording: Store, begin: float, end: float, text: str) -> tuple[int, int]:
    """The intervals that are wholly between so many seconds from the start, first and last + 1. Raises KvmtopError."""
    begins, ends = ((one - recording.start_ns) / 1e9 for one in (recording.begins, recording.times))
    first, last = int(np.searchsorted(begins, begin)), int(np.searchsorted(ends, end, "right"))
    if last <= first:
        raise KvmtopError(
            f"{text}: no whole interval lies between these seconds; the recording has {len(recording)} in"
            f" {ends[-1]:.1f} s",
            2,
        )
    return first, last


def _between(recording: Store, first: int, last: int, of_vms: Keeps | None) -> tuple[float, Reasons]:
    """The length in seconds and the reasons of intervals first to last - 1, of several runs together."""
    seconds, found = 0.0, dict[Hashable, Reason]()
    for part in (diff(*piece) for piece in recording.parts(first, last)):
        seconds += part.seconds
        rows = _by_vm(part, of_vms) if of_vms else ((reason.key, reason) for reason in by_reason(part))
        for key, reason in rows:
            known = found.get(key)
            found[key] = _sum(known, reason) if known else reason
    return seconds, {key: replace(reason, seconds=seconds) for key, reason in found.items()}


def _by_vm(interval: Interval, keeps: Keeps) -> Iterator[tuple[str, Reason]]:
    """VMs by name, those of one name together later. Halts are left out: they would be most of an idle VM's time."""
    pids = unpack(interval.after.threads["id"])[0]
    for pid, vm in interval.after.vms.items():
        kept = [one for one in by_reason(interval, pids == pid) if keeps(one) and basic(*one.key) not in HLT]
        if kept:
            yield vm.name, replace(reduce(_sum, kept), name=vm.name)


def _sum(a: Reason, b: Reason) -> Reason:
    """A reason in two runs, or two reasons of a VM."""
    return replace(
        b,
        count=a.count + b.count,
        time=a.time + b.time,
        parts={state: a.parts[state] + b.parts[state] for state in a.parts.keys() & b.parts.keys()},
        total=a.total + b.total,
        min=min((one for one in (a.min, b.min) if one is not None), default=None),
        max=max((one for one in (a.max, b.max) if one is not None), default=None),
        hist=tuple(map(add, a.hist, b.hist)),
        halts=a.halts + b.halts,
    )


@dataclass(frozen=True)
class Change:
    """A reason, or VM, in both. changed: which of rate, time, p50, p99 did by more than chance; None: too little."""

    name: str
    before: Reason | None
    after: Reason | None
    rates: tuple[float, float]
    changed: frozenset[str] | None

    @property
    def notable(self) -> bool | None:
        """Whether anything changed; None: too little to tell."""
        return None if self.changed is None else bool(self.changed)

    @property
    def times(self) -> tuple[float, float]:
        """Outside the guest, in ns in each second."""
        return _time(self.before), _time(self.after)


def growth(before: float, after: float) -> float | None:
    """0.5 for half as much again; None where there was nothing to grow."""
    return after / before - 1 if before else None


def changes(a: RecordingSpan, b: RecordingSpan, keeps: Callable[[Reason], bool] = lambda reason: True) -> list[Change]:
    """The reasons of both that are kept, the one whose time outside the guest changed most first.

    Raises KvmtopError where one of the files has gone or changed.
    """
    usual = max(a.usual, b.usual)
    length = usual * max(round(min(a.seconds, b.seconds) / MOST / usual), 1)
    cuts = a.cuts(length), b.cuts(length)
    # As many on both sides: else a few that are equal by chance would be held against the spread of many.
    number = min(*map(len, cuts), MOST)
    pieces = [part.pieces(spread(its, number)) for part, its in zip((a, b), cuts, strict=True)]
    found = []
    for key in a.reasons.keys() | b.reasons.keys():
        before, after = a.reasons.get(key), b.reasons.get(key)
        either = after or before
        assert either
        if keeps(before or either) and any(reason and (reason.count or reason.time) for reason in (before, after)):
            whole = before or _none(either, a.seconds), after or _none(either, b.seconds)
            changed = what_changed(
                whole, [[piece.get(key) or _none(either, seconds) for seconds, piece in side] for side in pieces]
            )
            found.append(Change(either.name, before, after, (a.rate(key), b.rate(key)), changed))
    return sorted(found, key=lambda c: (-abs(c.times[1] - c.times[0]), c.name))


def spread(cuts: Sequence[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """So many of them, evenly."""
    return [cuts[n] for n in np.linspace(0, len(cuts) - 1, number).astype(int).tolist()]


def what_changed(whole: tuple[Reason, Reason], pieces: Sequence[Sequence[Reason]]) -> frozenset[str] | None:
    """Which of a reason's rate, time, p50 and p99 changed by more than chance; None: too little to tell.

    whole: in all of both sides; pieces: in the pieces of each, which are all of about the same length.
    """
    counts = [reason.count for reason in whole]
    few = min(map(len, pieces)) < LEAST
    mean = sum(reason.time for reason in whole) / (sum(counts) or 1)  # ns of an exit
    found = set()
    for name, one in (("rate", 1.0), ("time", mean)):
        # Half an exit more everywhere: none has no logarithm. In all there is one at least.
        fold = _fold(*(max(_amount(name, reason), one) / reason.seconds for reason in whole))
        if fold >= (TENFOLD if few else HUNDREDFOLD) and max(counts) >= EXITS:
            found.add(name)
        elif not few and fold >= EFFECT:
            logs = [[math.log((_amount(name, r) + one / 2) / r.seconds) for r in side] for side in pieces]
            found |= {name} if p_value(*logs) < LEVEL else set()
    for name, (share, least) in PERCENTILES.items():
        values = [reason.percentile(share) for reason in whole]
        if not all(values):
            continue
        fold = _fold(*(value or 0 for value in values))
        if few:
            found |= {name} if fold >= TENFOLD and min(counts) >= EXITS else set()
        elif fold >= SHIFT:
            logs = [[math.log(r.percentile(share) or 1) for r in side if r.count >= least] for side in pieces]
            found |= {name} if min(map(len, logs)) >= LEAST and p_value(*logs) < LEVEL else set()
    return None if few and not found else frozenset(found)


def _amount(name: str, reason: Reason) -> float:
    return max(reason.count if name == "rate" else reason.time, 0)


def _fold(a: float, b: float) -> float:
    return max(a, b) / min(a, b) if min(a, b) > 0 else 1.0


def _none(like: Reason, seconds: float) -> Reason:
    """A reason that never came in so many seconds."""
    return replace(like, seconds=seconds, count=0, time=0, parts={}, total=0, hist=())


def _time(reason: Reason | None) -> float:
    return reason.time_rate if reason else 0.0
