"""What is in a store, and who writes it: from its files alone, for whoever may read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import units
from ..errors import KvmtopError
from . import writing
from .format import words
from .reader import Recording
from .segments import Segment, named, segments, taken, when, whole
from .writing import Writer

RECENT = 24 * 3600.0  # seconds of the newest that the rate is of


@dataclass(frozen=True)
class Status:
    """Instants in s since 1970, sizes in bytes; None is not known."""

    folder: Path
    writer: Writer | None
    segments: int
    unread: int  # files of such names that are no recordings, or not for this user
    size: int
    oldest: float | None
    newest: float | None
    rate: float | None  # bytes a second of what came last
    thinned: Mapping[float, float] = field(default_factory=dict)  # the same of what was thinned, by s between samples

    @property
    def lines(self) -> list[tuple[str, str]]:
        """For people: a word, and what there is to it."""
        one = self.writer
        by = "nobody" if not one else f"process {one.pid}, since {when(one.since)}" if one.alive else _nobody(one)
        rows = [("written by", by), ("segments", str(self.segments)), ("size", f"{units.number(self.size)}B")]
        if self.unread:
            rows.append(("not read", f"{self.unread} more: no recordings, or not for this user to read"))
        ends = {"oldest": self.oldest, "newest": self.newest}
        rows += [(name, units.DASH if at is None else when(at)) for name, at in ends.items()]
        if not one:
            return rows
        kept = f"{units.age(one.keep)}, as far as it fits into" if one.keep is not None else "what fits into"
        rows.append(("kept", f"{kept} {units.number(one.size)}B"))
        if self.rate:
            fits = units.age(self.fits(self.rate, one))
            more = " at least" if one.thin and len(self.thinned) < len(one.thin) else ""
            rows.append(("rate", f"{units.number(86400 * self.rate)}B a day, of which {fits} fit{more}"))
        if one.thin:
            rows.append(("thinned", "; ".join(self._stage(after, step) for after, step in one.thin)))
        if one.note:
            rows.append(("not thinned", one.note))
        return rows

    def _stage(self, after: float, step: float) -> str:
        found = self.thinned.get(step)
        rate = f" ({units.number(86400 * found)}B a day)" if found else ""
        return f"after {units.age(after)} to a reading in {units.age(step)}{rate}"

    def fits(self, rate: float, writer: Writer) -> float:
        """Seconds of recording that fit. What no segment tells of yet is taken to be as large as what is younger."""
        left, begin = float(writer.size), 0.0
        for after, step in writer.thin:
            if (took := rate * (after - begin)) >= left:
                break
            left, begin, rate = left - took, after, min(self.thinned.get(step, rate), rate)
        return begin + left / rate


def _nobody(last: Writer) -> str:
    return f"nobody; process {last.pid} began {when(last.since)}, and has ended"


def of(folder: Path) -> Status:
    """That of a directory. Raises KvmtopError."""
    try:
        found = segments(folder)
        others = len(named(folder)) - len(found)
    except OSError as error:
        raise KvmtopError(f"cannot read {folder}: {words(error)}", 2) from None
    size = sum(whole(one.path) for one in found)
    size += taken(folder) + taken(folder / writing.FILE)
    oldest, _ = _span(found)
    _, newest = _span(reversed(found))
    writer = writing.read(folder)
    thinned = _thinned(found, writer.thin) if writer else {}
    return Status(folder, writer, len(found), others, size, oldest, newest, _rate(found), thinned)


def _rate(found: Sequence[Segment]) -> float | None:
    """Of the newest segments that are about a day."""
    recent = [one for one in found if one.start > found[-1].start - RECENT]
    begin, _ = _span(recent)
    _, end = _span(reversed(recent))
    if begin is None or end is None or end - begin < 1:
        return None
    return sum(taken(one.path) for one in recent) / (end - begin)


def _thinned(found: Sequence[Segment], stages: Sequence[tuple[float, float]]) -> dict[float, float]:
    """Bytes a second of segments that were thinned to each of these steps, as three of each tell."""
    rates = dict[float, float]()
    ages = [after for after, _ in stages] + [float("inf")]
    for (after, step), end in zip(stages, ages[1:], strict=True):
        its = [one for one in found if after <= found[-1].start - one.start < end]
        sizes = spans = 0.0
        for segment in its[:: max(len(its) // 3, 1)]:
            with contextlib.suppress(KvmtopError), contextlib.closing(Recording(segment.path)) as recording:
                if recording.step == step:
                    sizes += taken(segment.path)
                    spans += (int(recording.times[-1]) - int(recording.times[0])) / 1e9
        if spans:
            rates[step] = sizes / spans
    return rates


def _span(some: Iterable[Segment]) -> tuple[float | None, float | None]:
    """When the first and last reading were taken, of the first of these that can be read."""
    for segment in some:
        with contextlib.suppress(KvmtopError), contextlib.closing(Recording(segment.path)) as recording:
            first, last = (recording.origin.wall(recording.at(n)) for n in (0, len(recording) - 1))
            return first, last
    return None, None
