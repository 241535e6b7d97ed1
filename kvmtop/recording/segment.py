"""A recording as a part of a store: when its samples were taken, and in which run. It is not kept open."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import I64
from ..model.provenance import Origin
from ..model.selection import Selection
from ..model.vocabulary import Vm
from ..sanitize import clean
from .format import MOST_CHANGES, MOST_SAMPLES, MOST_TIME, BadFrame
from .reader import Recording

Run = tuple[str, str, int]
STEP = 2.0  # s


class _Brief(Recording):
    """No more of it than a store needs to know of each of hundreds."""

    def _load(self) -> None:
        self._load_run()
        sql = "SELECT sample, time_ns, exits, final FROM samples ORDER BY sample"
        rows = self._numbers(sql, 4, MOST_SAMPLES)
        if not len(rows) or (rows[:, 0] != np.arange(len(rows))).any():
            raise BadFrame("samples are missing")
        if (rows < 0).any() or (rows >= MOST_TIME).any() or (np.diff(rows[:, 1], prepend=self.start_ns) < 0).any():
            raise BadFrame("a clock that went back")
        self.final = bool(rows[-1, 3])
        self.count = max(len(rows) - self.final, 1)
        self.times, self.exits = rows[: self.count, 1].copy(), rows[: self.count, 2].copy()
        self._changes: list[tuple[int, Vm, bool]] = []

    def has(self, pids: set[int], selection: Selection) -> bool:
        """Whether there is one of these VMs."""
        sql = "SELECT DISTINCT pid, name FROM vms"
        names = self._rows(sql, (int, str), MOST_CHANGES)
        return any((not pids or pid in pids) and selection.matches(Vm(pid, clean(name), "")) for pid, name in names)


@dataclass(frozen=True)
class Segment:
    """times: of its samples but the final one, CLOCK_MONOTONIC in ns; exits: that ended up to each since the last."""

    path: Path
    run: Run
    origin: Origin
    start_ns: int
    began: float  # s since 1970, by the clock as it was at the first sample
    times: I64
    exits: I64
    final: bool  # the reading after the last interval is there
    wanted: bool = True  # it has one of the VMs that are looked for

    @classmethod
    def of(cls, found: Recording) -> Segment:
        """That of a recording that is open."""
        run = found.origin.host, found.origin.kernel, found.start_ns
        return cls(found.path, run, found.origin, found.start_ns, found.began, found.times, found.exits, found.final)

    @classmethod
    def read(cls, path: Path, pids: set[int], selection: Selection) -> Segment:
        """That of a file. Raises KvmtopError."""
        found = _Brief(path)
        try:
            segment = cls.of(found)
            # Whoever wrote it named it by the clock of its first sample: that one knows, if the file says another time.
            if abs(_named(path) - _first(segment)) > STEP:
                segment = cls(**{**vars(segment), "began": _began(segment)})
            if not (pids or selection.patterns):
                return segment
            with found._explained():
                wanted = found.has(pids, selection)
            return cls(**{**vars(segment), "wanted": wanted})
        finally:
            found.free()


def _first(segment: Segment) -> float:
    """When its first sample was taken, s since 1970, as the file says."""
    return segment.began + (int(segment.times[0]) - segment.start_ns) / 1e9


def _named(path: Path) -> float:
    """The same, as its name says; nan: it does not."""
    try:
        return (
            datetime.strptime(path.name[: len("2026-11-30T171200Z")], "%Y-%m-%dT%H%M%SZ")
            .replace(tzinfo=UTC)
            .timestamp()
        )
    except ValueError:
        return math.nan


def _began(segment: Segment) -> float:
    """When its run began by the clock of its first sample. Raises KvmtopError."""
    recording = Recording(segment.path)
    try:
        wall = recording.at(0).wall_ns
    finally:
        recording.free()
    return wall / 1e9 + segment.began - _first(segment) if wall else segment.began


def paths(folder: Path) -> list[Path]:
    """The files of a store that may be segments, by name. Raises KvmtopError."""
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.name.endswith(".kvmtop") and not one.name.startswith(".")]
    except OSError as error:
        raise KvmtopError(f"cannot read {folder}: {error.strerror}", 2) from None
    return [folder / name for name in sorted(names)]
