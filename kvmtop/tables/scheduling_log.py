"""What the scheduler did with vCPUs, as tables in a log: a line for each vCPU, with names in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import units
from ..insight.scheduling import HoldUp, Latency, culprits, holdups, latency, looked_at, wakers
from ..insight.vcpus import VcpuRow
from ..model.interval import Interval
from .columns import Column

NAMED = 5  # in a line


@dataclass(frozen=True)
class Line:
    """A vCPU in one of the tables: how much of its time, or of wake-ups, and the most of what it was for."""

    who: str
    amount: float | None  # None is unknown
    parts: Sequence[tuple[str, float]]  # in words, and how much each is
    latency: Latency | None = None


def waited(interval: Interval, rows: Iterable[VcpuRow]) -> list[Line]:
    """The vCPUs that waited for a CPU, most first, and behind whom, in shares of their time."""
    found = []
    for one in _vcpus(interval, rows):
        share = (one.shares or {}).get("wait")
        behind = culprits(interval, one.scope) or []
        if share or behind:
            found.append(Line(_who(one), share, [(each.actor.text, each.share * (share or 0)) for each in behind]))
    return _most_first(found)


def woken(interval: Interval, rows: Iterable[VcpuRow]) -> list[Line]:
    """The vCPUs that were woken, most often first, a second, and by whom."""
    found = []
    for one in _vcpus(interval, rows):
        by = wakers(interval, one.scope) or []
        if by:
            parts = [(each.actor.text, each.rate) for each in by]
            found.append(Line(_who(one), sum(rate for _, rate in parts), parts, latency(interval, one.scope)))
    return _most_first(found)


def blocked(interval: Interval, rows: Iterable[VcpuRow]) -> list[Line]:
    """The vCPUs that were blocked, most first, and on what, in shares of their time."""
    found = []
    for one in _vcpus(interval, rows):
        share, on = (one.shares or {}).get("blocked"), holdups(interval, one.scope) or []
        if on:
            ns, parts = sum(each.ns for each in on), dict[str, float]()
            for each in on:  # by whatever way it came there
                parts[_on(each)] = parts.get(_on(each), 0) + (share or 0) * each.ns / max(ns, 1)
            found.append(Line(_who(one), share, list(parts.items())))
    return _most_first(found)


def _on(one: HoldUp) -> str:
    return f"{one.what}, woken by {one.actor.text}" if one.actor else f"{one.what}, still"


def _vcpus(interval: Interval, rows: Iterable[VcpuRow]) -> list[VcpuRow]:
    return [one for one in rows if one.scope.thread is not None and looked_at(interval, one.scope)]


def _who(vcpu: VcpuRow) -> str:
    return f"{vcpu.vm} {vcpu.name}"


def _most_first(found: list[Line]) -> list[Line]:
    return sorted(found, key=lambda one: -(one.amount or 0))


def _shares(one: Line) -> str:
    return _named(one, [f"{units.percent(share)} {words}" for words, share in one.parts])


def _rates(one: Line) -> str:
    return _named(one, [f"{units.rate(rate)} {words}" for words, rate in one.parts])


def _named(one: Line, words: Sequence[str]) -> str:
    more = len(words) - NAMED
    return "; ".join([*words[:NAMED], f"{more} more"] if more > 0 else words)


def _title(title: str) -> Column[Line]:
    return Column("who", title, 30, lambda one: one.who, left=True, cut=True)


WAITED: tuple[Column[Line], ...] = (
    _title("wait for a CPU"),
    Column("share", "WAIT%", 7, lambda one: one.amount, units.percent),
    Column("behind", "BEHIND", 60, _shares, left=True),
)
WOKEN: tuple[Column[Line], ...] = (
    _title("waking up"),
    Column("rate", "TIMES/S", 7, lambda one: one.amount, units.rate),
    Column("p50", "P50", 7, lambda one: one.latency and one.latency.p50, units.duration),
    Column("p99", "P99", 7, lambda one: one.latency and one.latency.p99, units.duration),
    Column("max", "MAX", 7, lambda one: one.latency and one.latency.max, units.duration),
    Column("by", "WOKEN BY, TIMES/S", 60, _rates, left=True),
)
BLOCKED: tuple[Column[Line], ...] = (
    _title("blocked"),
    Column("share", "BLOCK%", 7, lambda one: one.amount, units.percent),
    Column("on", "ON", 60, _shares, left=True),
)
