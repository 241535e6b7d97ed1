"""A table for each interval on a stream, for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from .. import units
from ..insight.accesses import accesses
from ..insight.caveats import dropped
from ..insight.finding import SCHEDULER, Finding
from ..insight.findings import findings
from ..insight.halt_polling import polling
from ..insight.slow_exits import read
from ..insight.vcpus import VcpuRow, vcpu_rows
from ..model.arrays import Array
from ..model.interval import Interval
from ..model.provenance import HERE, Origin
from ..model.scope import ALL
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import KINDS, looks_at
from ..recording import moment
from ..reference.labels import TITLES, Labels
from ..tables import exit_reasons, scheduling_log, slow_exits, vcpus
from ..tables.accesses import access_columns, ordered
from ..tables.guest_profile import COLUMNS as PROFILE
from ..tables.guest_profile import profile_lines
from ..tables.halt_polling import polling_columns
from ..tables.header import log_header
from ..tables.row_choice import RowChoice
from ..tables.text import lines

EVERYTHING = RowChoice()
MOST_KEYS = 20  # of a kind, in the tables of what exits touched


def table(
    session: Session,
    interval: Interval,
    labels: Labels,
    kinds: frozenset[str],
    when: float | None = None,
    title: str = "",
    choice: RowChoice = EVERYTHING,
    live: bool = False,
) -> Iterator[str]:
    """The lines of one interval's table; then what was looked at.

    choice: of its reasons, the most time first. live: more can be asked for.
    """
    yield "  ".join(filter(None, (title, log_header(interval, when))))
    reasons = session.lines(interval, idle=choice.idle == "in")
    yield from lines(exit_reasons.LOGGED, [*choice.choose(reasons), *exit_reasons.together(reasons)])
    rows = vcpu_rows(session, interval)
    if rows:
        yield ""
        yield from lines(vcpus.LOGGED, rows)
    yield ""
    found = findings(session, interval, rows, labels)
    yield from (f"! {finding.text}{_more(finding, live)} [{finding.rule}]" for finding in found)
    if found:
        yield ""
    yield from _looked_at(interval, labels, kinds)
    if interval.after.scheduling:
        yield from _scheduled(interval, rows)


def _more(finding: Finding, live: bool) -> str:
    return " (--event sched tells who)" if live and finding.more == SCHEDULER else ""


def _scheduled(interval: Interval, rows: Sequence[VcpuRow]) -> Iterator[str]:
    for columns, found in (
        (scheduling_log.WAITED, scheduling_log.waited(interval, rows)),
        (scheduling_log.WOKEN, scheduling_log.woken(interval, rows)),
        (scheduling_log.BLOCKED, scheduling_log.blocked(interval, rows)),
    ):
        yield from lines(columns, found[:MOST_KEYS])
        if len(found) > MOST_KEYS:
            yield f"{len(found) - MOST_KEYS} more vCPUs"
        yield ""


def _looked_at(interval: Interval, labels: Labels, kinds: frozenset[str]) -> Iterator[str]:
    details = interval.after.details
    if details is None or not looks_at(details.look.pids, None):
        return
    for kind in (kind for kind in KINDS if kind in details.look.kinds & kinds & TITLES.keys() - {"poll"}):
        rows = ordered(accesses(interval, ALL, [kind], fold=True))
        yield from lines(access_columns(labels, kind), rows[:MOST_KEYS])
        if len(rows) > MOST_KEYS:
            rest = sum(row.count for row in rows[MOST_KEYS:])
            yield f"{len(rows) - MOST_KEYS} more, {units.rate(rest / rows[0].seconds)}/s in all"
        yield ""
    if "poll" in details.look.kinds & kinds:
        yield from lines(polling_columns(interval), polling(interval, ALL))
        yield ""
    if sampled := [*profile_lines(interval, labels)] if "rip" in kinds else []:
        yield from lines(PROFILE, sampled)
        yield ""
    if missing := dropped(details):
        yield f"! {missing}"
        yield ""


class Batch:
    """Writes an interval after the other."""

    def __init__(
        self,
        out: TextIO,
        labels: Labels,
        kinds: Iterable[str] | None = None,
        origin: Origin = HERE,
        choice: RowChoice = EVERYTHING,
    ) -> None:
        """kinds: of what exits touched, those to write tables of; all without. choice: of the reasons."""
        self.session = Session()
        self._out, self._labels, self._kinds = out, labels, frozenset(KINDS if kinds is None else kinds)
        self.origin, self._choice = origin, choice
        self._known: Snapshot | None = None  # names slow exits

    def begin(self, snapshot: Snapshot) -> None:
        """A Snapshot whose names do for slow exits before the first interval has ended; its own. Raises OSError."""
        self._known = snapshot
        if snapshot.details is not None:
            self.slow(snapshot.details.slow)

    def write(self, snapshot: Snapshot) -> None:
        """A Snapshot's interval as text. Raises BrokenPipeError and other OSError."""
        last, interval = self.session.last, self.session.add(snapshot)
        labels = replace(self._labels, names=snapshot.names)
        self.begin(snapshot)
        origin = self.origin
        when, live = origin.wall(snapshot), origin.recording is None
        if last and last.start_ns != snapshot.start_ns:
            ends = moment.words(origin.wall(last)), moment.words(when - interval.seconds)
            print(f"nothing was recorded from {ends[0]} to {ends[1]}\n", file=self._out)
        for line in table(self.session, interval, labels, self._kinds, when, origin.title, self._choice, live):
            print(line, file=self._out)
        self._out.flush()

    def slow(self, rows: Array) -> None:
        """Slow exits, as they come: dtype SLOW. Raises OSError."""
        if len(rows) and self._known:
            labels = replace(self._labels, names=self._known.names)
            for one in read(rows, self._known):
                print(slow_exits.line(one, labels), file=self._out)
            self._out.flush()
