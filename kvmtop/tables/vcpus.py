"""The list of VMs and vCPUs, and what one does now, in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from .. import units
from ..insight.vcpus import VcpuRow
from ..model.scope import Scope
from ..model.vocabulary import OUTSIDE, STATES
from ..reference.column_texts import VCPUS
from .columns import Column, as_chosen, cells, fitting, headings, logged
from .rows import Cell, Lazy, Row, Rows
from .states import bar

BAR = 10  # characters
NOW = 15
FAINT = 0.01  # of its time, neither in the guest nor idle: a row with less is dimmed
OPEN, FOLDED, HERE = "▾", "▸", "›"
_TITLES = dict(zip(STATES, ("GUEST%", "KERN%", "USER%", "IDLE%", "BLOCK%", "WAIT%", "THROT%"), strict=True))


def cpu(row: VcpuRow) -> str:
    """On which CPU of the host a vCPU is; nothing of a VM."""
    return "" if row.scope.thread is None or row.ended else units.DASH if row.cpu is None else f"{row.cpu}"


def _name(row: VcpuRow) -> str:
    return row.name if row.scope.thread is None else f"  {row.name}"


def _vcpus(row: VcpuRow) -> str:
    """How many a VM has."""
    return str(row.alive) if row.scope.thread is None else ""


def state(row: VcpuRow) -> str:
    """What it does now, if it has for a while; what is out of the ordinary."""
    if row.ended:
        return "ended"
    if row.outside:
        stuck = "STUCK " if row.stuck and row.scope.thread is not None else ""
        return f"{stuck}{row.outside.where} {_lasted(row.outside.ns)}"
    if row.scope.thread is None:
        if row.stuck:
            return f"{row.stuck} stuck"
        return "no exits yet" if not row.seen else f"{row.doing[0]} {row.doing[1]}" if row.doing else ""
    return ""


def _lasted(ns: int) -> str:
    """A duration in few characters: 9.1ms, 41ms, 1.40s, 2m05s."""
    ms = ns / 1e6
    return units.duration(ns) if ms >= 99.5 else f"{ms:.0f}ms" if ms >= 9.95 else f"{ms:.1f}ms"


def now(row: VcpuRow) -> Cell:
    """The same in NOW characters: the word is of its state, and how long is at the right."""
    words = state(row)
    one = row.outside
    if row.ended or not one or one.where not in OUTSIDE:
        return [(words, row.doing[1])] if row.doing and not (row.ended or row.stuck or one) else words
    lasted = _lasted(one.ns)
    word = words.removesuffix(lasted).rstrip()
    if len(f"{word} {lasted}") > NOW:  # STUCK is said, and the colour tells the rest
        word = word.split()[0]
    return [(word, one.where), (f"{lasted:>{NOW - len(word)}}", "")]


def _column(
    key: str, title: str, width: int, value: Callable[[VcpuRow], Any], text: Any = str, **how: Any
) -> Column[VcpuRow]:
    return Column(key, title, width, value, text, VCPUS[title], **how)


def _share(state: str) -> Column[VcpuRow]:
    title = _TITLES[state]
    width = max(len(title), 5)
    return _column(state, title, width, lambda row: (row.shares or {}).get(state), units.percent, drop=8, usual=False)


def _where(shares: dict[str, float] | None) -> Cell:
    return bar(shares, BAR) if shares else units.DASH


def _faint(row: VcpuRow) -> bool:
    """Whether it is not worth a look: it has ended, or does next to nothing but run its guest and idle."""
    shares = row.shares or {}
    return row.ended or (row.scope.thread is not None and 1 - shares.get("guest", 0) - shares.get("idle", 0) < FAINT)


COLUMNS: tuple[Column[VcpuRow], ...] = (
    _column("name", "VM / VCPU", 11, _name, left=True, cut=True, grow=9),
    _column("number", "PID/TID", 7, lambda row: row.number, drop=7, usual=False),
    _column("vcpus", "VCPUS", 5, _vcpus, drop=6, usual=False),
    _column("cpu", "CPU", 4, cpu, drop=6, usual=False),
    _column("rate", "EXITS/S", 7, lambda row: row.rate, units.rate),
    *map(_share, STATES),
    _column("bar", "WHERE", BAR, lambda row: row.shares, _where, drop=1, left=True),
    _column("top", "TOP", 10, lambda row: row.top, left=True, drop=2),
    _column("state", "DOES NOW", NOW, lambda row: row, now, left=True, drop=5),
    _column("trend", "TREND", 5, lambda row: row.trend, units.sparkline, drop=4, grow=25, trend=True),
)
BY_KEY = {column.key: column for column in COLUMNS}
USUAL = tuple(column.key for column in COLUMNS if column.usual)
LOGGED = logged(
    [replace(column, text=state) if column.key == "state" else column for column in COLUMNS],
    ("name", "VM / VCPU", 22),
    ("number", "PID/TID", 7),
    ("rate", "EXITS/S", 7),
    *((state, state.upper(), max(len(state), 7)) for state in STATES),
    ("state", "STATE", 12),
)


def vcpu_table(
    found: Sequence[VcpuRow],
    scope: Scope,
    width: int,
    keys: Sequence[str] = (),
    folded: Collection[int | None] = (),
) -> Rows:
    """The list in so many characters; the scope that is looked at is marked.

    keys: the columns that somebody has chosen; folded: the VMs whose vCPUs are left out.
    """
    still = {one.scope.pid for one in found if one.outside and one.scope.thread is None}
    shown = [one for one in found if one.scope.thread is None or one.scope.pid not in folded]

    def name(row: VcpuRow) -> str:
        vm = row.scope.thread is None
        mark = HERE if row.scope == scope else "" if not vm else FOLDED if row.scope.pid in folded else OPEN
        return f"{mark:1} {row.name}"

    def does(row: VcpuRow) -> Cell:  # of what stands still as a whole, one line is enough
        return "" if row.scope.thread is not None and row.scope.pid in still and not row.ended else now(row)

    def top(row: VcpuRow) -> str:  # where there is no room for what it does
        if "state" in there or not (row.ended or row.stuck):
            return row.top
        return "ended" if row.ended else "STUCK"

    made = {
        "name": replace(BY_KEY["name"], value=name),
        "state": replace(BY_KEY["state"], text=does),
        "top": replace(BY_KEY["top"], value=top),
    }
    columns = [(BY_KEY | made)[key] for key in dict.fromkeys(["name", *(keys or USUAL)])]
    columns = fitting(as_chosen(columns) if keys else columns, width)
    there = {column.key for column in columns}
    heads = headings(columns, width)

    def row(at: int) -> Row:
        one = shown[at]
        vm = one.scope.thread is None
        return Row(one.scope, cells(one, columns, heads), dim=_faint(one), mark=bool(one.stuck), strong=vm)

    return heads, Lazy([one.scope for one in shown], row)
