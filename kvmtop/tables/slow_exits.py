"""The table of slow exits, and one of them as a line."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .. import units
from ..insight.slow_exits import Slow
from ..model.vocabulary import OUTSIDE
from ..reference.labels import Labels
from .columns import Column, laid_out
from .rows import Cell, Row, Rows
from .states import bar, shares_of

BAR = 8  # characters
_TITLES = {"blocked": "BLOCK", "throttled": "THROT"}  # others are the state's name


def _states(found: Sequence[Slow]) -> list[str]:
    """Those that have figures: throttled only where some exit was."""
    return [state for state in OUTSIDE if state != "throttled" or any(one.parts.get(state) for one in found)]


def _part(state: str) -> Column[Slow]:
    title = _TITLES.get(state, state.upper())
    return Column(state, title, 6, lambda one: one.parts.get(state), units.duration, drop=2)


def columns(labels: Labels, states: Sequence[str]) -> tuple[Column[Slow], ...]:
    """The columns. labels: the names of what was touched, and of guest code; states: of OUTSIDE, that have figures."""

    def what(one: Slow) -> str:
        return labels.what(one.kind, one.value, one.extra) if one.kind else units.DASH

    return (
        Column("time", "TIME", 12, lambda one: _clock(one.time, 3), left=True, drop=4),
        Column("vm", "VM", 12, lambda one: one.vm, left=True),
        Column("vcpu", "VCPU", 4, lambda one: one.vcpu),
        Column("reason", "REASON", 14, lambda one: one.name, left=True),
        Column("ns", "LASTED", 6, lambda one: one.ns, units.duration),
        Column(
            "where", "WHERE", BAR, lambda one: shares_of(one.parts, one.ns), lambda shares: bar(shares, BAR), left=True
        ),
        *map(_part, states),
        Column("cpu", "CPU", 3, lambda one: one.cpu, drop=3),
        Column("what", "TOUCHED", 26, what, left=True, drop=1, grow=14),
        Column("rip", "GUEST CODE", 34, lambda one: labels.what("rip", one.rip, 0), left=True, drop=5),
    )


def _clock(seconds: float, digits: int) -> str:
    """The time of day of seconds since 1970."""
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{int(seconds % 1 * 10**digits):0{digits}d}"


def slow_table(found: Sequence[Slow], width: int, labels: Labels) -> Rows:
    """Slow exits in so many characters, in their order."""
    return laid_out(columns(labels, _states(found)), found, width - 1, _row)


def _row(one: Slow, cells: list[Cell]) -> Row:
    return Row((one.time, one.tid), cells)


def line(one: Slow, labels: Labels) -> str:
    """A slow exit on one line, for logs."""
    parts = [
        f"{_clock(one.time, 6)} {one.vm} vCPU {one.vcpu} {one.name} {units.duration(one.ns)}",
        f"({' '.join(f'{state} {units.duration(one.parts.get(state))}' for state in _states([one]))})",
        f"CPU {one.cpu} rip {labels.what('rip', one.rip, 0)}",
    ]
    if one.kind:
        parts.append(labels.what(one.kind, one.value, one.extra))
    return " ".join(parts)
