"""The list of VMs and vCPUs, and what one does now, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from .. import units
from ..insight.vcpus import VcpuRow
from ..model.scope import Scope
from ..model.vocabulary import STATES
from .columns import Column, fitting, headings, logged
from .rows import Cell, Lazy, Row, Rows
from .states import bar

BAR, TREND = 8, 8
_sparkline = partial(units.sparkline, width=TREND)
_TITLES = dict(zip(STATES, ("GUEST%", "KERN%", "USER%", "IDLE%", "BLOCK%", "WAIT%", "THROT%"), strict=True))
_WORDS = {"wait": "waits"}  # others are the state's name


def cpu(row: VcpuRow) -> str:
    """How many vCPUs a VM has, or on which CPU of the host a vCPU is."""
    if row.scope.thread is None:
        return str(row.alive)
    return "" if row.ended else units.DASH if row.cpu is None else f"@{row.cpu}"


def state(row: VcpuRow) -> str:
    """What is out of the ordinary; empty where nothing is."""
    if row.ended:
        return "ended"
    if row.outside:
        stuck = "STUCK " if row.stuck and row.scope.thread is not None else ""
        return f"{stuck}{_WORDS.get(row.outside.where, row.outside.where)} {_lasted(row.outside.ns, not stuck)}"
    if row.scope.thread is None:
        return f"{row.stuck} stuck" if row.stuck else "" if row.seen else "no exits yet"
    return ""


def _lasted(ns: int, finely: bool) -> str:
    """A duration in few characters: 0.3s, 3.2s (finely), 10s, 2m05s."""
    return units.duration(ns) if ns >= 99.5e9 else f"{ns / 1e9:.{int(finely and ns < 9.95e9)}f}s"


def _share(state: str) -> Column[VcpuRow]:
    title, drop = _TITLES[state], 2 if state == "guest" else 8
    width = max(len(title), 5)
    return Column(state, title, width, lambda row: (row.shares or {}).get(state), units.percent, drop=drop)


def _where(shares: dict[str, float] | None) -> Cell:
    return bar(shares, BAR) if shares else units.DASH


def columns(here: Scope | None = None, still: Collection[int | None] = ()) -> tuple[Column[VcpuRow], ...]:
    """The columns of the list. here: the scope to mark; still: VMs that stand still, of which one line is enough."""

    def name(row: VcpuRow) -> str:
        mark = "" if here is None else "›" if row.scope == here else " "
        return f"{mark}{'' if row.scope.thread is None else '  '}{row.name}"

    def now(row: VcpuRow) -> str:
        return "" if row.scope.thread is not None and row.scope.pid in still and not row.ended else state(row)

    return (
        Column("name", "VM / VCPU", 13, name, left=True, cut=True, grow=8),
        Column("number", "PID/TID", 7, lambda row: row.number, drop=6),
        Column("cpu", "CPU", 4, cpu, drop=5),
        Column("rate", "EXITS/S", 7, lambda row: row.rate, units.rate),
        *map(_share, STATES),
        Column("bar", "WHERE", BAR, lambda row: row.shares, _where, left=True, drop=3),
        Column("top", "TOP REASON", 10, lambda row: row.top, left=True, drop=4, grow=4),
        Column("state", "STATE", 16, now, left=True, drop=1, grow=3),
        Column("trend", "TREND", TREND, lambda row: row.trend, _sparkline, drop=7, trend=True),
    )


LOGGED = logged(
    columns(),
    ("name", "VM / VCPU", 22),
    ("number", "PID/TID", 7),
    ("rate", "EXITS/S", 7),
    *((state, state.upper(), max(len(state), 7)) for state in STATES),
    ("state", "STATE", 12),
)


def vcpu_table(found: Sequence[VcpuRow], scope: Scope, width: int) -> Rows:
    """The list in so many characters; the scope that is looked at is marked."""
    still = {one.scope.pid for one in found if one.outside and one.scope.thread is None}
    shown = fitting(columns(scope, still), width - 1)

    def row(at: int) -> Row:
        one = found[at]
        return Row(one.scope, [column.cell(one) for column in shown], dim=one.ended, mark=bool(one.stuck))

    return headings(shown, width), Lazy([one.scope for one in found], row)
