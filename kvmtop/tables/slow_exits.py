"""The table of slow exits, and one of them as a line."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .. import units
from ..insight.slow_exits import Slow
from ..model.vocabulary import OUTSIDE
from ..reference.guest_symbols import half
from ..reference.labels import Labels
from .columns import Column, laid_out
from .rows import Cell, Row, Rows
from .states import bar, shares_of

BAR = 8  # characters
_TITLES = {"blocked": "BLOCK", "throttled": "THROT"}  # others are the state's name
_DROPS = {"kernel": 0, "wait": 1, "throttled": 2, "user": 5, "blocked": 6, "idle": 8}


def _part(state: str) -> Column[Slow]:
    title = _TITLES.get(state, state.upper())
    return Column(state, title, 6, lambda one: one.parts.get(state), units.duration, drop=_DROPS[state])


def columns(labels: Labels, now_ns: int, longest: int, whose: bool) -> tuple[Column[Slow], ...]:
    """The columns. labels: the names of what was touched, and of guest code; now_ns: CLOCK_MONOTONIC; longest: ns,
    which the longest bar stands for; whose: they are of several vCPUs."""

    def what(one: Slow) -> str:
        return labels.what(one.kind, one.value, one.extra) if one.kind else units.DASH

    def code(one: Slow) -> str:  # an address in user space says nothing to anybody
        return labels.what("rip", one.rip, 0) if half(one.rip) == "kernel" else "user space" if one.rip else units.DASH

    def where(one: Slow) -> Cell:
        shares = shares_of(one.parts, one.ns)
        return bar(shares, BAR, one.ns / longest) if shares else units.DASH

    who = Column[Slow]("who", "VM · VCPU", 14, lambda one: f"{one.vm} vCPU {one.vcpu}", left=True, cut=True, grow=10)
    return (
        Column("ago", "AGO", 5, lambda one: ago(now_ns - one.ended_ns), left=True),
        *([who] if whose else []),
        Column("reason", "REASON", 12, lambda one: one.name, left=True, grow=6),
        Column("ns", "LASTED", 6, lambda one: one.ns, units.duration),
        *map(_part, ("kernel", "user", "blocked", "wait", "throttled", "idle")),
        Column("where", "WHERE", BAR, lambda one: one, where, left=True, drop=3),
        Column("cpu", "CPU", 3, lambda one: one.cpu, drop=7),
        Column("what", "TOUCHED", 26, what, left=True, drop=4, grow=14),
        Column("rip", "GUEST CODE", 34, code, left=True, drop=9),
    )


def ago(ns: int) -> str:
    """How long something is over: 0.4s, 8.8s, 34s, 2m05s."""
    seconds = max(ns, 0) / 1e9
    if seconds >= 99.5:
        return units.duration(ns)
    return f"{seconds:.0f}s" if seconds >= 9.95 else f"{seconds:.1f}s"


def clock(seconds: float, digits: int) -> str:
    """The time of day of seconds since 1970."""
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{int(seconds % 1 * 10**digits):0{digits}d}"


def slow_table(found: Sequence[Slow], width: int, labels: Labels, now_ns: int, whose: bool = True) -> Rows:
    """Slow exits in so many characters, in their order. now_ns: CLOCK_MONOTONIC; whose: of several vCPUs."""
    longest = max((one.ns for one in found), default=0)
    return laid_out(columns(labels, now_ns, longest, whose), found, width - 1, _row)


def _row(one: Slow, cells: list[Cell]) -> Row:
    return Row(row_key(one), cells)


def row_key(one: Slow) -> tuple[float, int]:
    """Of its row."""
    return one.time, one.tid


def line(one: Slow, labels: Labels) -> str:
    """A slow exit on one line, for logs."""
    states = [state for state in OUTSIDE if state != "throttled" or one.parts.get(state)]
    parts = [
        f"{clock(one.time, 6)} {one.vm} vCPU {one.vcpu} {one.name} {units.duration(one.ns)}",
        f"({' '.join(f'{state} {units.duration(one.parts.get(state))}' for state in states)})",
        f"CPU {one.cpu} rip {labels.what('rip', one.rip, 0) if one.rip else units.DASH}",
    ]
    if one.kind:
        parts.append(labels.what(one.kind, one.value, one.extra))
    return " ".join(parts)
