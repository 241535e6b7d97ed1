"""The table of exit reasons: what the screen, --batch, the sort menu and the help follow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .. import units
from ..model.session import Line
from . import columns
from .columns import Column, laid_out
from .rows import Cell, Row, Rows
from .states import bar, shares_of

TREND = 10  # intervals in the sparkline
BAR = 7  # characters


def _share(line: Line, *states: str) -> float | None:
    """Of its time, in these states together; None where the first is not known."""
    time, parts = line.reason.time, line.reason.parts
    return sum(parts.get(state, 0) for state in states) / time if time and states[0] in parts else None


def _off(shares: dict[str, float] | None) -> float | None:
    """The share that a vCPU neither ran nor was halted."""
    return sum(shares.get(state, 0.0) for state in ("blocked", "wait", "throttled")) if shares else None


COLUMNS: tuple[Column[Line], ...] = (
    Column(
        "reason",
        "REASON",
        20,
        lambda line: line.reason.name,
        help="what made the vCPU leave the guest, as the kernel names it",
        left=True,
        grow=8,
    ),
    Column("rate", "EXITS/S", 7, lambda line: line.reason.rate, units.rate, "exits a second"),
    Column("share", "EXITS%", 6, lambda line: line.share, units.percent, "share of all exits", drop=3),
    Column(
        "time",
        "TIME/S",
        7,
        lambda line: line.reason.time_rate,
        units.duration,
        "time outside the guest in each second, all vCPUs added up, exits still open included",
    ),
    Column(
        "time_share", "TIME%", 6, lambda line: line.time_share, units.percent, "share of all time outside the guest"
    ),
    Column(
        "user",
        "USER%",
        6,
        lambda line: _share(line, "user"),
        units.percent,
        "how much of that time the VMM (QEMU …) ran in user space",
        drop=5,
    ),
    Column(
        "blocked",
        "BLOCK%",
        6,
        lambda line: _share(line, "blocked"),
        units.percent,
        "how much of that time the vCPU slept without being halted: locks, files, page faults, a stop",
        drop=10,
    ),
    Column(
        "wait",
        "WAIT%",
        6,
        lambda line: _share(line, "wait", "throttled"),
        units.percent,
        "how much of that time the vCPU could have run but did not: its CPU was busy, or its quota used up",
        drop=9,
    ),
    Column(
        "where",
        "WHERE",
        BAR,
        lambda line: shares_of(line.reason.parts, line.reason.time),
        lambda shares: bar(shares, BAR) if shares else units.DASH,
        "that time by state, as in the bar above; sorted by what was blocked, waiting and throttled",
        order=_off,
        drop=6,
        left=True,
    ),
    Column("avg", "AVG", 6, lambda line: line.reason.avg, units.duration, "average duration of an exit"),
    Column(
        "p50",
        "P50",
        6,
        lambda line: line.reason.percentile(0.5),
        units.duration,
        "half of the exits are shorter (from a histogram, within 12.5 %)",
        drop=4,
    ),
    Column(
        "p99",
        "P99",
        6,
        lambda line: line.reason.percentile(0.99),
        units.duration,
        "99 % of the exits are shorter (from a histogram, within 12.5 %)",
        drop=1,
    ),
    Column(
        "max",
        "MAX",
        6,
        lambda line: line.reason.max,
        units.duration,
        "longest exit; exact since the start, within 25 % in an interval",
        drop=2,
    ),
    Column(
        "trend",
        "TREND",
        TREND,
        lambda line: line.trend,
        partial(units.sparkline, width=TREND),
        "exits a second in the last intervals, from zero",
        order=lambda trend: trend[-1] - trend[0] if trend else None,
        drop=7,
        trend=True,
    ),
    Column("total", "TOTAL", 6, lambda line: line.total, units.number, "exits since the start", drop=8),
)
BY_KEY = {column.key: column for column in COLUMNS}
LOGGED = tuple(column for column in COLUMNS if column.key not in ("trend", "where"))  # a log is its own trend


def ordered(lines: Sequence[Line], key: str, descending: bool = True) -> list[Line]:
    """Sorted by a column; unknown last, equal ones by name, so that nothing moves without a cause."""
    by_name = sorted(lines, key=lambda line: line.reason.name)
    return columns.ordered(by_name, BY_KEY[key], descending)


def reason_table(lines: Sequence[Line], width: int) -> Rows:
    """The reasons in so many characters, in the order of the lines."""
    return laid_out(COLUMNS, lines, width, _row)


def _row(line: Line, cells: list[Cell]) -> Row:
    none = not line.reason.count and not line.reason.time
    return Row(line.reason.key, cells, fill=line.time_share or 0.0, dim=none)
