"""The table of exit reasons: what the screen, --batch, the sort menu and the help follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from .. import units
from ..model.exit_stats import NOT_ITS_DOING
from ..model.session import Line
from ..model.vocabulary import VMX, level, vendor
from ..reference.column_texts import REASONS
from . import columns
from .columns import Column, as_chosen, cells, fitting, headings
from .rows import Cell, Heading, Lazy, Row, Rows
from .states import bar, shares_of

BAR = 7  # characters
FAINT = 0.01  # of the reasons' own time: a row with less is dimmed
NAMES, LEVEL = 15, 8  # characters of VMX's names, which are longer, and more for whose exits they are


def _name(line: Line) -> str:
    return f"{line.reason.name} idle" if line.aside else line.reason.name


def _part(line: Line, state: str) -> float | None:
    """Of a reason's own time, in a state that is a part of it; None where that is not known."""
    reason = line.reason
    known = state in reason.parts and reason.own > 0 and not reason.idle
    return reason.parts[state] / reason.own if known else None


def _whole(line: Line, state: str) -> float | None:
    """Of all of its time, in a state."""
    return (shares_of(line.reason.parts, line.reason.time) or {}).get(state)


def _waiting(line: Line) -> float | None:
    """Of all of its time, what the vCPU could have run but did not."""
    time, parts = line.reason.time, line.reason.parts
    return sum(parts.get(state, 0) for state in NOT_ITS_DOING) / time if time and "wait" in parts else None


def _off(line: Line) -> float | None:
    """The share of its time that a vCPU neither ran nor was halted."""
    shares = shares_of(line.reason.parts, line.reason.time)
    return sum(shares.get(state, 0.0) for state in ("blocked", *NOT_ITS_DOING)) if shares else None


def _where(line: Line, longest: int | None = None) -> Cell:
    """Its time by state, as long as it is of the longest (ns); of a faint row nothing."""
    reason = line.reason
    shares = shares_of(reason.parts, reason.time)
    if not shares:
        return units.DASH
    return "" if faint(line) else bar(shares, BAR, min(reason.time / (longest or reason.time), 1.0))


def faint(line: Line) -> bool:
    """Whether a reason is not worth a look: it is left aside, or has hardly any time."""
    return line.aside or (line.own_share or 0.0) < FAINT


def _column(
    key: str, title: str, width: int, value: Callable[[Line], Any], text: Any = str, **how: Any
) -> Column[Line]:
    return Column(key, title, width, value, text, REASONS[title], **how)


COLUMNS: tuple[Column[Line], ...] = (
    _column("reason", "REASON", 12, _name, order=lambda name: name.removesuffix(" idle"), left=True),
    _column("rate", "EXITS/S", 7, lambda line: line.reason.rate, units.rate),
    _column("share", "EXITS%", 6, lambda line: line.share, units.percent, drop=10, usual=False),
    _column("time", "TIME/S", 7, lambda line: line.reason.own_rate, units.duration),
    _column("time_share", "TIME%", 6, lambda line: line.own_share, units.percent, drop=1),
    _column("where", "WHERE", BAR, lambda line: line, _where, order=_off, drop=8, left=True),
    _column("user", "USER%", 6, lambda line: _part(line, "user"), units.percent, drop=4),
    _column("blocked", "BLOCK%", 6, lambda line: _part(line, "blocked"), units.percent, drop=12, usual=False),
    _column("wait", "WAIT%", 6, _waiting, units.percent, drop=11, usual=False),
    _column("avg", "AVG", 6, lambda line: line.reason.avg, units.duration, drop=7),
    _column("p50", "P50", 6, lambda line: line.reason.percentile(0.5), units.duration, drop=6),
    _column("p99", "P99", 6, lambda line: line.reason.percentile(0.99), units.duration),
    _column("max", "MAX", 6, lambda line: line.reason.max, units.duration, drop=2),
    _column(
        "trend",
        "TREND",
        7,
        lambda line: line.trend,
        units.sparkline,
        order=lambda trend: trend[-1] - trend[0] if trend else None,
        drop=5,
        grow=23,
        trend=True,
    ),
    _column("total", "TOTAL", 6, lambda line: line.total, units.number, drop=9, usual=False),
)
BY_KEY = {column.key: column for column in COLUMNS}
USUAL = tuple(column.key for column in COLUMNS if column.usual)
# A log is its own trend, and has room for names.
LOGGED = tuple(
    replace(column, width=20) if column.key == "reason" else column
    for column in COLUMNS
    if column.key not in ("trend", "where")
)
# What programs sort by: their figures are of the whole time, from exit to entry.
_WHOLE: dict[str, Callable[[Line], float | None]] = {
    "time": lambda line: line.reason.time,
    "time_share": lambda line: line.time_share,
    "user": partial(_whole, state="user"),
    "blocked": partial(_whole, state="blocked"),
}
WHOLE = BY_KEY | {key: replace(BY_KEY[key], value=value) for key, value in _WHOLE.items()}


def by_name(lines: Iterable[Line]) -> list[Line]:
    """What is equal comes in this order, so that nothing moves without a cause."""
    return sorted(lines, key=lambda line: line.reason.name)


def ordered(lines: Iterable[Line], key: str, descending: bool = True) -> list[Line]:
    """Sorted by a column, unknown last, equal ones by name; those that are left aside after all others."""
    found = columns.ordered(by_name(lines), BY_KEY[key], descending)
    return sorted(found, key=lambda line: line.aside)


def together(lines: Sequence[Line]) -> list[Line]:
    """All reasons that are not left aside as one, for the foot of the table; nothing of none."""
    kept = [line for line in lines if not line.aside]
    if not kept:
        return []
    reasons = [line.reason for line in kept]
    reason = replace(
        reasons[0],
        name="all but idle" if len(kept) < len(lines) else "all",
        count=sum(one.count for one in reasons),
        time=sum(one.time for one in reasons),
        parts={state: sum(one.parts[state] for one in reasons) for state in reasons[0].parts},
        total=sum(one.total for one in reasons),
        min=min((one.min for one in reasons if one.min is not None), default=None),
        max=max((one.max for one in reasons if one.max is not None), default=None),
        hist=tuple(map(sum, zip(*(one.hist for one in reasons), strict=True))),
        halts=sum(one.halts for one in reasons),
    )
    return [
        Line(
            reason,
            share=_sum(line.share for line in kept),
            time_share=_sum(line.time_share for line in kept),
            trend=list(map(sum, zip(*(line.trend for line in kept), strict=True))),
            total=sum(line.total for line in kept),
            own_share=_sum(line.own_share for line in kept),
        )
    ]


def _sum(shares: Iterable[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


def reason_table(lines: Sequence[Line], width: int, keys: Sequence[str] = ()) -> Rows:
    """The reasons in so many characters, in the order of the lines. keys: of the columns, in order; REASON is first."""
    longest = max((line.reason.time for line in lines if not line.aside), default=0)
    isas = {line.reason.isa for line in lines}
    name = replace(BY_KEY["reason"], width=NAMES if VMX in map(vendor, isas) else BY_KEY["reason"].width)
    if any(map(level, isas)):
        name = replace(name, width=name.width + LEVEL)
    where = replace(BY_KEY["where"], text=partial(_where, longest=longest))
    made = BY_KEY | {"reason": name, "where": where}
    chosen = [made[key] for key in dict.fromkeys(["reason", *(keys or USUAL)])]
    chosen = fitting(as_chosen(chosen) if keys else chosen, width)
    heads = headings(chosen, width)

    @cache
    def row(at: int) -> Row:
        return Row(lines[at].reason.key, cells(lines[at], chosen, heads), dim=faint(lines[at]))

    return heads, Lazy([line.reason.key for line in lines], row)


def foot(lines: Sequence[Line], heads: Sequence[Heading]) -> list[Row]:
    """The row under the table, with its heads. lines: together()."""
    return [Row("foot", cells(line, [BY_KEY[head.key] for head in heads], heads)) for line in lines]
