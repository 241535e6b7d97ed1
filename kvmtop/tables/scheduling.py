"""The tables of the Scheduler page: who ran instead of vCPUs, who woke them, what held them up, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .. import units
from ..insight.actors import Actor
from ..insight.scheduling import Culprit, HoldUp, Waker
from ..insight.vcpus import VcpuRow
from ..model.scope import Scope
from .columns import Column, fitting, headings, laid_out
from .rows import Cell, Key, Lazy, Row, Rows
from .states import bar
from .vcpus import state

BAR = 12  # characters
_KINDS = {"vcpu": "vCPU", "vm thread": "VM's thread"}  # others are as they are called


def actor_key(actor: Actor | None) -> Key:
    """The same for the same actor at every time, whatever it is called now."""
    return actor and (actor.kind, actor.pid, actor.tid, "" if actor.tid else actor.text)


def _kind(actor: Actor) -> str:
    return _KINDS.get(actor.kind, actor.kind)


def _length(share: float) -> Cell:
    """A bar of one part, in the colour of the wait; what is there at all has a character."""
    return [("▆" * min(max(round(share * BAR), share > 0), BAR), "wait")]


def _number(actor: Actor) -> str:
    return str(actor.tid or actor.pid or units.DASH)


def culprit_columns(seconds: float) -> tuple[Column[Culprit], ...]:
    """The columns of who ran instead. seconds: of the interval."""
    return (
        Column("who", "WHO", 25, lambda one: one.actor.text, left=True, cut=True, grow=25, shrink=8),
        Column("time", "TIME/S", 7, lambda one: one.ns / seconds, units.duration),
        Column("share", "WAIT%", 6, lambda one: one.share, units.percent),
        Column("bar", "", BAR, lambda one: one.share, _length, left=True, drop=2),
        Column("rate", "TIMES/S", 7, lambda one: one.count / seconds, units.rate),
        Column("kind", "WHAT IT IS", 13, lambda one: _kind(one.actor), left=True, drop=3),
        Column("number", "PID/TID", 7, lambda one: _number(one.actor), drop=4),
        Column("cgroup", "CGROUP", 20, lambda one: one.actor.cgroup, left=True, drop=5, grow=40),
    )


def waker_columns(total: int) -> tuple[Column[Waker], ...]:
    """The columns of who woke vCPUs. total: wake-ups that their shares are of."""
    return (
        Column("who", "WOKEN BY", 20, lambda one: one.actor.text, left=True, cut=True, grow=20, shrink=8),
        Column("rate", "TIMES/S", 7, lambda one: one.rate, units.rate),
        Column("share", "SHARE", 6, lambda one: one.count / total if total else None, units.percent, drop=1),
        Column("kind", "WHAT IT IS", 13, lambda one: _kind(one.actor), left=True, drop=2),
    )


def _released(one: HoldUp) -> str:
    return one.actor.text if one.actor else "nobody yet"


def holdup_columns(seconds: float) -> tuple[Column[HoldUp], ...]:
    """The columns of what vCPUs were blocked on."""
    return (
        Column("what", "BLOCKED ON", 24, lambda one: one.what, left=True, cut=True, grow=20, shrink=8),
        Column("by", "RELEASED BY", 20, _released, left=True, cut=True, grow=20, shrink=8),
        Column("rate", "TIMES/S", 7, lambda one: one.count / seconds, units.rate, drop=1),
        Column("time", "TIME/S", 7, lambda one: one.ns / seconds, units.duration),
        Column("max", "MAX", 6, lambda one: one.max, units.duration),
    )


def culprit_table(found: Sequence[Culprit], seconds: float, width: int) -> Rows:
    """Who ran while vCPUs waited, in so many characters."""
    return laid_out(culprit_columns(seconds), found, width - 1, lambda one, cells: Row(actor_key(one.actor), cells))


def waker_table(found: Sequence[Waker], width: int) -> Rows:
    """Who woke vCPUs, in so many characters."""
    columns = waker_columns(sum(one.count for one in found))
    return laid_out(columns, found, width - 1, lambda one, cells: Row(actor_key(one.actor), cells))


def holdup_key(one: HoldUp) -> Key:
    """The same at every time."""
    return (one.what, one.stack, actor_key(one.actor))


def holdup_table(found: Sequence[HoldUp], seconds: float, width: int) -> Rows:
    """What vCPUs were blocked on, in so many characters."""
    return laid_out(holdup_columns(seconds), found, width - 1, lambda one, cells: Row(holdup_key(one), cells))


def _share(of: str, one: VcpuRow) -> float | None:
    return (one.shares or {}).get(of)


def _where(shares: dict[str, float] | None) -> Cell:
    return bar(shares, BAR) if shares else units.DASH


def placed_columns(scope: Scope) -> tuple[Column[VcpuRow], ...]:
    """The columns of how vCPUs fare, and where. scope: the one that is looked at is marked."""

    def name(one: VcpuRow) -> str:
        mark = "›" if one.scope == scope else " "
        return f"{mark}{one.name}" if scope.pid is not None else f"{mark}{one.name} of {one.vm}"

    return (
        Column("name", "VCPU", 10 if scope.pid is not None else 18, name, left=True, cut=True, grow=10, shrink=4),
        Column("cpu", "ON CPU", 6, lambda one: units.DASH if one.cpu is None else str(one.cpu)),
        Column("wait", "WAIT%", 6, partial(_share, "wait"), units.percent),
        Column("throttled", "THROT%", 6, partial(_share, "throttled"), units.percent, drop=2),
        Column("blocked", "BLOCK%", 6, partial(_share, "blocked"), units.percent),
        Column("where", "WHERE", BAR, lambda one: one.shares, _where, left=True, drop=3),
        Column("state", "STATE", 16, state, left=True, drop=1),
    )


def placed_table(found: Sequence[VcpuRow], scope: Scope, width: int) -> Rows:
    """The vCPUs among the rows, in so many characters: of everything first who waits most, by steps of 5 % so that rows
    do not change places all the time."""
    vcpus = [one for one in found if one.scope.thread is not None and not one.ended]
    if scope.pid is not None:
        vcpus = [one for one in vcpus if one.scope.pid == scope.pid]
    else:
        vcpus.sort(key=lambda one: -round(20 * sum(_share(of, one) or 0.0 for of in ("wait", "throttled"))))
    shown = fitting(placed_columns(scope), width - 1)
    lazy = Lazy(
        [one.scope for one in vcpus], lambda at: Row(vcpus[at].scope, [column.cell(vcpus[at]) for column in shown])
    )
    return headings(shown, width), lazy
