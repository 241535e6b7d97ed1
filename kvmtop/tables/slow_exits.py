"""The table of slow exits, and one of them as a line."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .. import units
from ..insight.slow_exits import Slow
from ..reference.labels import Labels
from .columns import Column, laid_out
from .rows import Cell, Row, Rows


def columns(labels: Labels) -> tuple[Column[Slow], ...]:
    """The columns. labels: the names of what was touched, and of guest code."""

    def what(one: Slow) -> str:
        return labels.what(one.kind, one.value, one.extra) if one.kind else units.DASH

    return (
        Column("time", "TIME", 12, lambda one: _clock(one.time, 3), left=True, drop=4),
        Column("vm", "VM", 12, lambda one: one.vm, left=True),
        Column("vcpu", "VCPU", 4, lambda one: one.vcpu),
        Column("reason", "REASON", 14, lambda one: one.name, left=True),
        Column("ns", "LASTED", 6, lambda one: one.ns, units.duration),
        Column("kernel", "KERNEL", 6, lambda one: one.kernel, units.duration, drop=3),
        Column("user", "USER", 6, lambda one: one.user, units.duration),
        Column("idle", "IDLE", 6, lambda one: one.idle, units.duration, drop=3),
        Column("cpu", "CPU", 3, lambda one: one.cpu, drop=2),
        Column("what", "TOUCHED", 28, what, left=True, drop=1),
        Column("rip", "GUEST CODE", 34, lambda one: labels.what("rip", one.rip, 0), left=True, drop=5),
    )


def _clock(seconds: float, digits: int) -> str:
    """The time of day of seconds since 1970."""
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{int(seconds % 1 * 10**digits):0{digits}d}"


def slow_table(found: Sequence[Slow], width: int, labels: Labels) -> Rows:
    """Slow exits in so many characters, in their order."""
    return laid_out(columns(labels), found, width - 1, _row)


def _row(one: Slow, cells: list[Cell]) -> Row:
    return Row((one.time, one.tid), cells)


def line(one: Slow, labels: Labels) -> str:
    """A slow exit on one line, for logs."""
    parts = [
        f"{_clock(one.time, 6)} {one.vm} vCPU {one.vcpu} {one.name} {units.duration(one.ns)}",
        f"(kernel {units.duration(one.kernel)} user {units.duration(one.user)} idle {units.duration(one.idle)})",
        f"CPU {one.cpu} rip {labels.what('rip', one.rip, 0)}",
    ]
    if one.kind:
        parts.append(labels.what(one.kind, one.value, one.extra))
    return " ".join(parts)
