"""Two VMs or vCPUs side by side: where their time goes, and for which exits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .. import units
from ..insight.vcpus import VcpuRow
from ..model.interval import Interval
from ..model.session import Session
from ..model.vocabulary import STATES
from .columns import Column
from .rows import Cell, Row, Rows
from .states import bar

WIDEST = 24  # characters of a column
Text = Callable[[float | None], str]


@dataclass(frozen=True)
class Figure:
    """One figure of both; None is unknown."""

    name: str
    a: float | None
    b: float | None
    text: Text

    @property
    def change(self) -> str:
        """From the first to the second."""
        if self.a is None or self.b is None:
            return units.DASH
        if self.text(abs(self.b - self.a)) == self.text(0):
            return "="
        return f"{'+' if self.b >= self.a else '−'}{self.text(abs(self.b - self.a))}"


def name(row: VcpuRow) -> str:
    """Whose figures they are."""
    return row.vm if row.scope.thread is None else f"{row.vm} {row.name}"


def states_of_both(a: VcpuRow, b: VcpuRow, width: int) -> Rows:
    """Exits a second, and the share of time in each state; bars on top."""
    shares = [row.shares or {} for row in (a, b)]
    found = [Figure("exits/s", a.rate, b.rate, units.rate)]
    found += [
        Figure(state, shares[0].get(state), shares[1].get(state), units.percent)
        for state in STATES
        if any(state in one for one in shares)
    ]
    columns = _columns("", a, b, width, 9)
    each = columns[1].width
    bars = [bar(row.shares, each) if row.shares else units.DASH for row in (a, b)]
    return [column.heading() for column in columns], [Row("bar", ["where", *bars, ""]), *_rows(columns, found)]


def reasons_of_both(session: Session, interval: Interval, a: VcpuRow, b: VcpuRow, width: int, most: int) -> Rows:
    """The time a second of the reasons that either spends most on, idle ones aside."""
    times = [
        {line.reason.name: line.reason.own_rate for line in session.lines(interval, row.scope) if not line.aside}
        for row in (a, b)
    ]
    names = sorted(times[0] | times[1], key=lambda one: (-max(each.get(one, 0) for each in times), one))[:most]
    found = [Figure(one, times[0].get(one, 0), times[1].get(one, 0), units.duration) for one in names]
    columns = _columns("TIME/S FOR", a, b, width, 14)
    return [column.heading() for column in columns], _rows(columns, found)


def lines_of_both(a: VcpuRow, b: VcpuRow) -> list[list[tuple[str, str]]]:
    """In three lines, of (text, how it is meant): names, and the states whose shares differ most."""
    shares = a.shares or {}, b.shares or {}
    states = sorted(shares[0].keys() & shares[1].keys(), key=lambda one: -abs(shares[0][one] - shares[1][one]))[:3]
    lines = [[(f"◆ {name(a)}", "strong"), (" beside ", "label"), (name(b), "strong")]]
    for row, parts in zip((a, b), shares, strict=True):
        figures = [(f"{units.rate(row.rate)} exits/s", "")] + [
            (f"{one} {units.percent(parts[one])}", "") for one in states
        ]
        lines.append([(f"{name(row)}  ", "label"), *((f"{text}  ", how) for text, how in figures)])
    return lines


def _columns(title: str, a: VcpuRow, b: VcpuRow, width: int, least: int) -> list[Column[Figure]]:
    change = 8
    each = min(max((width - least - change - 3) // 2, 6), WIDEST)
    return [
        Column("name", title, least, lambda one: one.name, _toned, left=True),
        Column("a", name(a), each, lambda one: one.text(one.a)),
        Column("b", name(b), each, lambda one: one.text(one.b)),
        Column("change", "CHANGE", change, lambda one: one.change),
    ]


def _toned(name: str) -> Cell:
    return [(name, name)] if name in STATES else name


def _rows(columns: Iterable[Column[Figure]], found: Iterable[Figure]) -> list[Row]:
    return [Row(one.name, [column.cell(one) for column in columns]) for one in found]
