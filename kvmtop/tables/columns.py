"""The columns of the reasons table: the one list that table, batch output, sort menu and help follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import units
from ..model.session import Line

Value = float | str | None  # what a column sorts by


@dataclass(frozen=True)
class Column:
    """One column. width: in characters, without the gap; drop: the higher, the sooner it goes when space is short."""

    key: str
    title: str
    width: int
    value: Callable[[Line], Value]
    format: Callable[[Line], str]
    help: str
    drop: int = 0
    left: bool = False


def _column(key: str, title: str, width: int, value: Callable[[Line], float | None],
            unit: Callable[[float | None], str], help: str, drop: int = 0) -> Column:  # fmt: skip
    return Column(key, title, width, value, lambda line: unit(value(line)), help, drop)


TREND = 10  # intervals in the sparkline

COLUMNS = (
    Column("reason", "REASON", 20, lambda line: line.reason.name, lambda line: line.reason.name,
           "what made the vCPU leave the guest, as the kernel names it", left=True),
    _column("rate", "EXITS/S", 7, lambda line: line.reason.rate, units.rate, "exits a second"),
    _column("share", "EXITS%", 6, lambda line: line.share, units.percent, "share of all exits", 3),
    _column("time", "TIME/S", 7, lambda line: line.reason.time_rate, units.duration,
            "time outside the guest in each second, all vCPUs added up, exits still open included"),
    _column("time_share", "TIME%", 6, lambda line: line.time_share, units.percent,
            "share of all time outside the guest"),
    _column("user", "USER%", 6,
            lambda line: line.reason.user / line.reason.time if line.reason.time else None, units.percent,
            "how much of that time the VMM (QEMU …) took in user space; the rest is KVM's", 5),
    _column("avg", "AVG", 6, lambda line: line.reason.avg, units.duration, "average duration of an exit"),
    _column("p50", "P50", 6, lambda line: line.reason.percentile(0.5), units.duration,
            "half of the exits are shorter (from a histogram, within 12.5 %)", 4),
    _column("p99", "P99", 6, lambda line: line.reason.percentile(0.99), units.duration,
            "99 % of the exits are shorter (from a histogram, within 12.5 %)", 1),
    _column("max", "MAX", 6, lambda line: line.reason.max, units.duration,
            "longest exit; exact since the start, within 25 % in an interval", 2),
    Column("trend", "TREND", TREND, lambda line: line.trend[-1] - line.trend[0] if line.trend else None,
           lambda line: units.sparkline(line.trend, TREND), "exits a second in the last intervals, from zero", 7),
    _column("total", "TOTAL", 6, lambda line: line.total, units.number, "exits since the start", 6),
)  # fmt: skip
BY_KEY = {column.key: column for column in COLUMNS}


def fitting(width: int, gap: int = 1) -> list[Column]:
    """The columns that fit into so many characters, in order; the reason's takes what is left, up to 26."""
    chosen = list(COLUMNS)
    for column in sorted(COLUMNS, key=lambda column: -column.drop):
        if sum(c.width + gap for c in chosen) - gap <= width or not column.drop:
            break
        chosen.remove(column)
    return chosen


def ordered(lines: list[Line], key: str, descending: bool = True) -> list[Line]:
    """Sorted by a column; unknown last, equal ones by name, so that nothing moves without a cause."""
    value = BY_KEY[key].value

    def rank(line: Line) -> tuple[bool, float, str]:
        found = value(line)
        if isinstance(found, str):
            return False, 0, found
        return found is None, 0 if found is None else -found if descending else found, line.reason.name

    lines = sorted(lines, key=rank)
    return lines[::-1] if key == "reason" and descending else lines
