"""A table for each interval on a stream, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TextIO

from rich.cells import set_cell_size

from .. import units
from ..insight import slow_exits
from ..insight.accesses import dropped, touched
from ..insight.findings import findings
from ..insight.halt_polling import polling
from ..insight.vcpus import members, shares
from ..model.arrays import Array
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.provenance import HERE, Origin
from ..model.scope import ALL
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import KINDS, PARTS, isa_name
from ..reference.labels import TITLES, Labels
from ..tables.columns import COLUMNS
from ..tables.halt_polling import verdict
from ..tables.row_choice import RowChoice
from ..tables.vcpus import state

_SKIPPED = {"trend"}  # a log is its own trend
EVERYTHING = RowChoice()
MOST_KEYS = 20  # of a kind, in the tables of what exits touched


def header(interval: Interval, when: float | None = None) -> str:
    """One line: when, what, how many, and where the vCPUs' time went. when: s since 1970, None for now."""
    after = interval.after
    alive = int((after.threads["end_ns"] == 0).sum())
    exits = int(interval.rows["count"].sum()) / interval.seconds
    vms = sum(not vm.ended for vm in after.vms.values())
    parts = [
        time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(when)),
        isa_name(after.isa),
        f"{vms} VM{'s' * (vms != 1)}",
        f"{alive} vCPU{'s' * (alive != 1)}",
        f"{units.rate(exits)} exits/s",
        f"{interval.seconds:.2f}s",
    ]
    if where := shares(interval, ALL):
        parts.append(" ".join(f"{name} {units.percent(where.get(name))}" for name in PARTS))
    for name in ("lost", "unpaired", "overwritten", "expired"):
        if getattr(after, name):
            parts.append(f"{name} {getattr(after, name)}")
    return "  ".join(parts)


def table(
    session: Session,
    interval: Interval,
    labels: Labels,
    kinds: frozenset[str],
    when: float | None = None,
    title: str = "",
    choice: RowChoice = EVERYTHING,
) -> Iterator[str]:
    """The lines of one interval's table; then what was looked at. choice: of its reasons, the most time first."""
    columns = [column for column in COLUMNS if column.key not in _SKIPPED]
    yield "  ".join(filter(None, (title, header(interval, when))))
    yield " ".join(c.title.ljust(c.width) if c.left else c.title.rjust(c.width) for c in columns).rstrip()
    for line in choice.lines(session, interval):
        cells = [c.format(line) for c in columns]
        yield " ".join(
            text.ljust(c.width) if c.left else text.rjust(c.width) for c, text in zip(columns, cells, strict=True)
        )
    rows = members(session, interval)
    if rows:
        yield ""
        yield f"{'VM / VCPU':<22}{'PID/TID':>8}{'EXITS/S':>8}" + "".join(f"{n.upper():>8}" for n in PARTS) + "  STATE"
    for row in rows:
        name = f"  {row.name}" if row.scope.thread is not None else row.name
        parts = [units.percent((row.shares or {}).get(part)) for part in PARTS]
        text = f"{fit(name, 22)}{row.number:>8}{units.rate(row.rate):>8}" + "".join(f"{part:>8}" for part in parts)
        yield f"{text}  {state(row)}".rstrip()
    yield ""
    found = findings(session, interval, rows, labels)
    yield from (f"! {finding.text} [{finding.rule}]" for finding in found)
    if found:
        yield ""
    yield from _looked_at(interval, labels, kinds)


def _looked_at(interval: Interval, labels: Labels, kinds: frozenset[str]) -> Iterator[str]:
    details = interval.after.details
    if details is None:
        return
    for kind in (kind for kind in KINDS if kind in details.look.kinds & kinds & TITLES.keys() - {"poll"}):
        rows = touched(interval, ALL, [kind])
        yield f"{TITLES[kind]:<48}" + "".join(f"{n:>8}" for n in ("COUNT/S", "TIME/S", "TIME%", "AVG", "P99", "MAX"))
        for row in rows[:MOST_KEYS]:
            cells = (
                units.rate(row.rate), units.duration(row.total / row.seconds), units.percent(row.share),
                units.duration(row.avg), units.duration(row.percentile(0.99)), units.duration(row.max),
            )  # fmt: skip
            yield fit(labels.what(kind, row.value, row.extra), 48) + "".join(f"{cell:>8}" for cell in cells)
        if len(rows) > MOST_KEYS:
            rest = sum(row.count for row in rows[MOST_KEYS:])
            yield f"{len(rows) - MOST_KEYS} more, {units.rate(rest / rows[0].seconds)}/s in all"
        yield ""
    if "poll" in details.look.kinds & kinds:
        yield f"{TITLES['poll']:<30}{'HITS':>8}{'WASTED':>8}{'OTHER':>8}{'POLLING':>10}{'WINDOW':>8}  VERDICT"
        vcpus = {int(t["id"]): f"vCPU {t['vcpu']}" for t in interval.after.threads}
        for one in polling(interval, ALL):
            pid, _ = unpack(one.id)
            vm = interval.after.vms.get(pid)
            name = fit(f"{vm.name if vm else pid} {vcpus.get(one.id, '')}", 30)
            spent = f"{units.duration(one.ns / one.seconds)}/s"
            counts = "".join(f"{count:>8}" for count in (one.hits, one.wasted, one.other))
            yield f"{name}{counts}{spent:>10}{units.duration(one.window):>8}  {verdict(one)}"
        yield ""
    if missing := dropped(details):
        yield f"! {missing}"
        yield ""


def fit(text: str, width: int) -> str:
    """Exactly so many columns of a terminal, the last a blank."""
    return set_cell_size(text, width - 1) + " "


class Batch:
    """Writes an interval after the other."""

    def __init__(
        self, out: TextIO, labels: Labels, kinds: Iterable[str] | None = None, origin: Origin = HERE,
        choice: RowChoice = EVERYTHING,
    ) -> None:  # fmt: skip
        """kinds: of what exits touched, those to write tables of; all without. choice: of the reasons."""
        self.session = Session()
        self._out, self._labels, self._kinds = out, labels, frozenset(KINDS if kinds is None else kinds)
        self._origin, self._choice = origin, choice
        self._known: Snapshot | None = None  # names slow exits

    def begin(self, snapshot: Snapshot) -> None:
        """A Snapshot whose names do for slow exits before the first interval has ended; its own. Raises OSError."""
        self._known = snapshot
        if snapshot.details is not None:
            self.slow(snapshot.details.slow)

    def write(self, snapshot: Snapshot) -> None:
        """A Snapshot's interval as text. Raises BrokenPipeError and other OSError."""
        interval = self.session.add(snapshot)
        labels = replace(self._labels, names=snapshot.names)
        self.begin(snapshot)
        when, title = self._origin.wall(snapshot), self._origin.title
        for line in table(self.session, interval, labels, self._kinds, when, title, self._choice):
            print(line, file=self._out)
        self._out.flush()

    def slow(self, rows: Array) -> None:
        """Slow exits, as they come: dtype SLOW. Raises OSError."""
        if len(rows) and self._known:
            labels = replace(self._labels, names=self._known.names)
            for one in slow_exits.read(rows, self._known):
                print(slow_exits.line(one, labels), file=self._out)
            self._out.flush()
