"""The list of VMs and vCPUs, and what one does now, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from .. import units
from ..insight.vcpus import VcpuRow
from ..model.scope import Scope
from ..model.vocabulary import PARTS
from .columns import Column, fitting, headings, logged
from .rows import Cell, Lazy, Row, Rows

Bar = Callable[[dict[str, float] | None, int], Cell]  # shares of PARTS, in so many characters

BAR, TREND = 8, 8
_sparkline = partial(units.sparkline, width=TREND)
_TITLES = {"guest": "GUEST%", "kernel": "KERN%", "user": "USER%", "idle": "IDLE%", "wait": "WAIT%"}


def cpu(row: VcpuRow) -> str:
    """How many vCPUs a VM has, or on which CPU of the host a vCPU is."""
    if row.scope.thread is None:
        return str(row.alive)
    return "" if row.ended else units.DASH if row.cpu is None else f"@{row.cpu}"


def state(row: VcpuRow) -> str:
    """What is out of the ordinary; empty where nothing is."""
    if row.ended:
        return "ended"
    if row.scope.thread is None:
        return f"{row.stuck} stuck" if row.stuck else "" if row.seen else "no exits yet"
    if not row.outside:
        return ""
    return f"{'STUCK ' if row.stuck else ''}{row.outside.where} {units.duration(row.outside.ns)}"


def _share(part: str) -> Column[VcpuRow]:
    width, drop = (6, 2) if part == "guest" else (5, 8)
    return Column(part, _TITLES[part], width, lambda row: (row.shares or {}).get(part), units.percent, drop=drop)


def columns(here: Scope | None = None, bar: Bar = lambda shares, width: "") -> tuple[Column[VcpuRow], ...]:
    """The columns of the list. here: the scope to mark; bar: draws where a vCPU's time goes."""

    def name(row: VcpuRow) -> str:
        mark = "" if here is None else "›" if row.scope == here else " "
        return f"{mark}{'' if row.scope.thread is None else '  '}{row.name}"

    return (
        Column("name", "VM / VCPU", 14, name, left=True, cut=True, grow=16),
        Column("number", "PID/TID", 7, lambda row: row.number, drop=6),
        Column("cpu", "CPU", 4, cpu, drop=5),
        Column("rate", "EXITS/S", 7, lambda row: row.rate, units.rate),
        *map(_share, PARTS),
        Column("bar", "WHERE", BAR, lambda row: row.shares, lambda shares: bar(shares, BAR), left=True, drop=3),
        Column("top", "TOP REASON", 12, lambda row: row.top, left=True, drop=4),
        Column("state", "STATE", 12, state, left=True, drop=1),
        Column("trend", "TREND", TREND, lambda row: row.trend, _sparkline, drop=7, trend=True),
    )


LOGGED = logged(
    columns(),
    ("name", "VM / VCPU", 22),
    ("number", "PID/TID", 7),
    ("rate", "EXITS/S", 7),
    *((part, part.upper(), 7) for part in PARTS),
    ("state", "STATE", 12),
)


def vcpu_table(found: Sequence[VcpuRow], scope: Scope, width: int, bar: Bar) -> Rows:
    """The list in so many characters; the scope that is looked at is marked."""
    shown = fitting(columns(scope, bar), width - 1)

    def row(at: int) -> Row:
        one = found[at]
        return Row(one.scope, [column.cell(one) for column in shown], dim=one.ended, mark=bool(one.stuck))

    return headings(shown, width), Lazy([one.scope for one in found], row)
