"""What a recording comes to, for people who were not there: of a stretch of it, piece by piece and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import numpy as np

from ..model.arrays import I64
from ..model.interval import Interval, diff
from ..model.provenance import Origin
from ..model.session import Line, Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES
from ..reference.labels import Labels
from .caveats import caveats
from .finding import USUAL, Finding, Limits
from .findings import findings
from .vcpus import VcpuRow, vcpu_rows

PIECES = 200  # at most: a chart is not wider


class Readings(Protocol):
    """A recording, as far as a report needs one."""

    origin: Origin
    times: I64  # CLOCK_MONOTONIC in ns, of the end of each interval
    start_ns: int

    def at(self, n: int) -> Snapshot:
        """Snapshot n, from 0. Raises KvmtopError."""


@dataclass(frozen=True)
class Piece:
    """Some intervals one after the other. wall: s since 1970, its end."""

    wall: float
    seconds: float
    exits: int
    states: I64  # shape (7,): ns of all vCPUs in each of STATES
    known: int  # ns in which vCPUs were watched


@dataclass(frozen=True)
class Stood:
    """A finding, and in which pieces its rule held. wall: s since 1970."""

    finding: Finding  # as the last of these pieces has it
    first: float  # beginning of the first
    last: float  # end of the last
    pieces: int


@dataclass(frozen=True)
class Report:
    """All figures are of the stretch alone, but for the shortest exit of a reason, which is since the run's start."""

    origin: Origin
    began: float  # s since 1970
    ended: float
    intervals: int
    pieces: Sequence[Piece]
    whole: Interval
    lines: Sequence[Line]  # most time of its own first, the idle reasons last
    vcpus: Sequence[VcpuRow]
    stood: Sequence[Stood]  # what held longest first
    unknown: Sequence[str]  # sentences: what a reader of the figures must know


def report(
    recording: Readings, first: int = 0, last: int | None = None, labels: Labels | None = None, limits: Limits = USUAL
) -> Report:
    """Of intervals first to last - 1 of a recording; interval n ends with reading n. Raises KvmtopError.

    first < last.
    """
    last = len(recording.times) if last is None else last
    ends = np.unique(np.linspace(first, last, min(last - first, PIECES) + 1).astype(int)).tolist()
    if last - first > PIECES:
        limits = replace(limits, rise=inf)  # which is about the minute before an interval of a second
    session, pieces = Session(), list[Piece]()
    stood: dict[object, Stood] = {}
    before = recording.at(first - 1) if first else None
    if before:
        session.add(before)
    for end in ends[1:]:
        after = recording.at(end - 1)
        interval = session.add(after)
        piece = _piece(recording.origin, interval)
        for finding in findings(session, interval, vcpu_rows(session, interval, trend=0), labels or Labels(), limits):
            earlier = stood.get(finding.key)
            began = earlier.first if earlier else piece.wall - piece.seconds
            stood[finding.key] = Stood(finding, began, piece.wall, earlier.pieces + 1 if earlier else 1)
        pieces.append(piece)
    whole, all_of_it = diff(before, after), Session().since(before)
    lines = all_of_it.lines(whole)
    return Report(
        origin=recording.origin,
        began=pieces[0].wall - pieces[0].seconds,
        ended=pieces[-1].wall,
        intervals=last - first,
        pieces=pieces,
        whole=whole,
        lines=sorted(lines, key=lambda line: (line.aside, -line.reason.own, line.reason.name)),
        vcpus=vcpu_rows(all_of_it, whole, trend=0),
        stood=sorted(stood.values(), key=lambda one: (-one.pieces, one.first)),
        unknown=list(_unknown(before, after)),
    )


def _piece(origin: Origin, interval: Interval) -> Piece:
    return Piece(
        wall=origin.wall(interval.after),
        seconds=interval.seconds,
        exits=int(interval.rows["count"].sum()),
        states=interval.budget.sum(axis=0),
        known=int(interval.known.sum()),
    )


def _unknown(before: Snapshot | None, after: Snapshot) -> Sequence[str]:
    found = []
    if missing := [state for state in STATES if state not in after.told]:
        found.append(f"Time in these states is not told apart: {', '.join(missing)}.")
    if before and (ended := after.ended_threads - before.ended_threads):
        found.append(
            f"{ended} vCPU thread{'s' * (ended != 1)} that ended meanwhile: their exits are in the pieces, but not"
            " in the tables of the whole."
        )
    if words := caveats(after):
        found.append(f"Not counted or not paired, {words}.")
    return found
