"""The columns of the table of --compare: what table, order and help of its screen follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import units
from ..insight.compare import DEVIATIONS, Change, grown, growth
from ..model.exit_stats import Reason

VERDICTS = {None: "?", False: "noise"}  # else more or less
CHANCE = f"more than {DEVIATIONS:g} standard deviations of the single intervals' rates"


@dataclass(frozen=True)
class Column:
    """One column. value: what it sorts by, None for unknown; drop: columns with the highest go first, all at once."""

    key: str
    title: str
    value: Callable[[Change], Any]
    format: Callable[[Change], str]
    help: str
    drop: int = 0
    width: int = 7


def _pair(key: str, value: Callable[[Reason], float | None], unit: Callable[[float | None], str], help: str,
          drop: int = 0, missing: float | None = None) -> tuple[Column, Column]:  # fmt: skip
    """Before and after. missing: what it is of a reason that one of the two has not."""

    def column(letter: str, side: Callable[[Change], Reason | None]) -> Column:
        def of(change: Change) -> float | None:
            reason = side(change)
            return value(reason) if reason else missing

        title = f"{key.upper()} {letter}"
        return Column(f"{key}_{letter.lower()}", title, of, lambda c: unit(of(c)), f"{help}, in {letter}", drop)

    return column("A", lambda change: change.before), column("B", lambda change: change.after)


def _growth(values: Callable[[Change], tuple[float, float]]) -> dict[str, Any]:  # for Column
    def value(change: Change) -> float | None:
        before, after = values(change)
        return float("inf") if after and not before else growth(before, after)

    return {"value": value, "format": lambda change: grown(*values(change))}


def _verdict(change: Change) -> str:
    return "less" if change.notable and change.rates[1] < change.rates[0] else VERDICTS.get(change.notable, "more")


COLUMNS = (
    Column("reason", "REASON", lambda c: c.name, lambda c: c.name, "what made the vCPU leave the guest", width=20),
    *_pair("rate", lambda reason: reason.rate, units.rate, "exits a second", missing=0.0),
    Column("rate_change", "CHANGE", help="of the exits a second, from A to B", **_growth(lambda c: c.rates)),
    Column("verdict", "VERDICT", lambda c: {True: 2, None: 1, False: 0}[c.notable], _verdict,
           f"more or less: the rate changed by {CHANCE}, of whichever of the two varies more; noise: it did not;"
           " ?: there are too few intervals to tell"),
    *_pair("time", lambda reason: reason.time_rate, units.duration, "time outside the guest in each second", 1, 0.0),
    Column("time_change", "CHANGE", help="of this time, from A to B", drop=2, **_growth(lambda c: c.times)),
    *_pair("p50", lambda reason: reason.percentile(0.5), units.duration, "half of the exits are shorter", 4),
    *_pair("p99", lambda reason: reason.percentile(0.99), units.duration, "99 % of the exits are shorter", 3),
)  # fmt: skip
BY_KEY = {column.key: column for column in COLUMNS}


def fitting(width: int) -> list[Column]:
    """The columns that fit into so many characters, in order."""
    chosen, drop = list(COLUMNS), max(column.drop for column in COLUMNS)
    while drop and sum(column.width + 1 for column in chosen) - 1 > width:
        chosen = [column for column in chosen if column.drop < drop]
        drop -= 1
    return chosen


def ordered(found: list[Change], key: str, descending: bool) -> list[Change]:
    """Sorted by a column, unknown last; without one as they are, and equal ones as they are."""
    if not key:
        return found if descending else found[::-1]
    value = BY_KEY[key].value
    known = [change for change in found if value(change) is not None]
    return sorted(known, key=value, reverse=descending) + [change for change in found if value(change) is None]
