"""What a recording comes to, for people who were not there: of a stretch of it, piece by piece and as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..model.arrays import I64
from ..model.interval import Interval, diff
from ..model.provenance import Origin
from ..model.session import Line, Session
from ..model.vocabulary import STATES
from ..recording import sums
from ..recording.store import Store
from ..reference.labels import Labels
from .caveats import caveats
from .finding import USUAL, Finding, Limits
from .findings import findings
from .slow_exits import Slow, read
from .vcpus import VcpuRow, vcpu_rows

PIECES = 200  # about so many at most: a chart is not wider
SLOWEST = 20


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
    slow: Sequence[Slow]  # single slow exits, as far as somebody looked for them, the longest first
    unknown: Sequence[str]  # sentences: what a reader of the figures must know


def report(store: Store, labels: Labels | None = None, limits: Limits = USUAL) -> Report:
    """Of all intervals that the store shows. Raises KvmtopError."""
    labels, pieces, stood = labels or Labels(), list[Piece](), dict[object, Stood]()
    runs, played = store.runs(), np.concatenate([[0], store.played])
    for first, end in runs:
        session = Session()
        session.last = before = store.before(first)
        begin, span = int(played[first]), int(played[end] - played[first])
        number = min(max(round(PIECES * span / max(int(played[-1]), 1)), 1), end - first)
        # By time: intervals of a store that was thinned are longer the older they are.
        marks = [begin + span * n // number for n in range(1, number + 1)]
        ends = np.unique(first + np.searchsorted(played[first + 1 : end + 1], marks, "right"))
        ends = np.arange(first + 1, end + 1) if number == end - first else ends
        for at in ends[ends > first].tolist():
            interval = session.add(store.at(at - 1))
            piece = _piece(store.origin_of(at - 1), interval)
            rows = vcpu_rows(session, interval, trend=0)
            for finding in findings(session, interval, rows, labels, limits):
                earlier = stood.get(finding.key)
                began = earlier.first if earlier else piece.wall - piece.seconds
                stood[finding.key] = Stood(finding, began, piece.wall, earlier.pieces + 1 if earlier else 1)
            pieces.append(piece)
    last, newest = diff(before, store.at(len(store) - 1)), Session()
    whole = last if len(runs) == 1 and not sums.missing(before, last.after) else diff(None, store.sum())
    lines = Session().since(whole.before).lines(whole)
    return Report(
        origin=store.origin_of(len(store) - 1),
        began=pieces[0].wall - pieces[0].seconds,
        ended=pieces[-1].wall,
        intervals=len(store),
        pieces=pieces,
        whole=whole,
        lines=sorted(lines, key=lambda line: (line.aside, -line.reason.own, line.reason.name)),
        vcpus=vcpu_rows(newest, last, trend=0),
        stood=sorted(stood.values(), key=lambda one: (-one.pieces, one.first)),
        slow=[read(row, store.at(n))[0] for n, row in store.slowest(SLOWEST)],
        unknown=list(_unknown(store, last)),
    )


def _piece(origin: Origin, interval: Interval) -> Piece:
    return Piece(
        wall=origin.wall(interval.after),
        seconds=interval.seconds,
        exits=int(interval.rows["count"].sum()),
        states=interval.budget.sum(axis=0),
        known=int(interval.known.sum()),
    )


def _unknown(store: Store, last: Interval) -> Iterator[str]:
    before, after, runs = last.before, last.after, store.runs()
    if missing := [state for state in STATES if state not in after.told]:
        yield f"Time in these states is not told apart: {', '.join(missing)}."
    for first, _ in runs[1:]:
        yield f"Counting began anew{f': {gap}' if (gap := store.gap(first)) else ''}."
    if len(runs) > 1:
        yield "VMs and vCPUs are those of the last run."
    if ended := sums.missing(before, after):
        yield f"{ended} vCPU thread{'s' * (ended != 1)} that ended meanwhile are not among the VMs and vCPUs."
    if words := caveats(after):
        yield f"Not counted or not paired, {words}."
    if store.trouble:
        yield f"{store.trouble}."
