"""The table of what exits touched: ports, MSRs, addresses, guest code …"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import units
from ..insight.accesses import CODE, USER_SPACE, Access
from ..model.vocabulary import SAMPLED
from ..reference.labels import TITLES, Labels
from .columns import Column, laid_out, logged
from .rows import Cell, Row, Rows

TREND = 8  # intervals
USER = "user"  # the kind of why exits went to the VMM


def columns(labels: Labels) -> tuple[Column[Access], ...]:
    """The columns. labels: the names of what was touched."""

    def what(one: Access) -> str:
        if (one.kind, one.value) == (CODE, USER_SPACE):
            return f"the guest's user space{', sampled' if one.extra & SAMPLED else ''}"
        if one.kind == USER:  # of the same exits as a port above it
            return f"to the VMM: {labels.what(one.kind, one.value, one.extra)}"
        return labels.what(one.kind, one.value, one.extra)

    return (
        Column("what", "WHAT", 27, what, left=True, cut=True, grow=33, shrink=19),
        Column("rate", "COUNT/S", 7, lambda one: one.rate, units.rate),
        Column("time", "TIME/S", 7, lambda one: one.own / one.seconds, units.duration),
        Column("share", "TIME%", 6, lambda one: one.own_share, units.percent, drop=2),
        Column("avg", "AVG", 6, lambda one: one.avg, units.duration, drop=1),
        Column("p99", "P99", 6, lambda one: one.percentile(0.99), units.duration),
        Column("max", "MAX", 6, lambda one: one.max, units.duration, drop=4),
        Column("trend", "TREND", TREND, lambda one: list(one.trend), units.sparkline, drop=3, trend=True),
    )


def access_columns(labels: Labels, kind: str) -> list[Column[Access]]:
    """The columns of the table of one kind in a log."""
    numbers = (
        ("rate", "COUNT/S"),
        ("time", "TIME/S"),
        ("share", "TIME%"),
        ("avg", "AVG"),
        ("p99", "P99"),
        ("max", "MAX"),
    )
    return logged(columns(labels), ("what", TITLES[kind], 48), *((key, title, 7) for key, title in numbers))


def ordered(found: Iterable[Access]) -> list[Access]:
    """Most time of its own first; what is equal stays as it is."""
    return sorted(found, key=lambda one: -one.own)


def access_table(found: Sequence[Access], width: int, labels: Labels) -> Rows:
    """What exits touched, in so many characters, most time first."""
    return laid_out(columns(labels), ordered(found), width - 1, _row)


def _row(one: Access, cells: list[Cell]) -> Row:
    return Row((one.kind, one.value, one.extra), cells)
