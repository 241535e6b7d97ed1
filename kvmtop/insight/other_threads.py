"""The VMs' threads that are no vCPUs over one Interval, and what stands out of them.

A wait that has not ended is not known yet, and one that ends counts as a whole: of what may be longer than the interval
no more is told than what a thread's time on a CPU leaves of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import units
from ..model.arrays import find
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scheduling import ROLES
from ..model.scope import ALL, Scope
from ..sanitize import clean
from . import blame
from .finding import Finding

BUSY_SHARE = 0.90  # of a thread's time on a CPU
WAIT_SHARE = 0.20  # ready to run, but not running
TOLD = ("main", "io", "worker", "vhost")  # whose work the guest waits for
POLLING = ("io", "vhost")  # they may look for work for a while before they sleep


@dataclass(frozen=True)
class OtherThread:
    """A VM's thread that is no vCPU; shares are of the time between its two readings; None is unknown."""

    pid: int
    tid: int
    role: str  # of ROLES
    name: str
    cpu: int | None
    busy: float | None
    wait: float | None  # with throttled, where that is unknown
    throttled: float | None


def other_threads(interval: Interval, scope: Scope = ALL) -> list[OtherThread]:
    """Of the VMs of a scope, by VM, then role, then name. Of a vCPU's scope its VM's."""
    if "other_threads" not in interval.memo:
        interval.memo["other_threads"] = _other_threads(interval)
    found: list[OtherThread] = interval.memo["other_threads"]
    return [one for one in found if scope.pid in (None, one.pid)]


def _other_threads(interval: Interval) -> list[OtherThread]:
    now = interval.after.others
    before = interval.before.others if interval.before else now[:0]
    at = find(before["id"], now["id"])
    grown = {name: now[name].astype("i8") for name in ("time_ns", "cpu_ns", "wait_ns", "throttled_ns")}
    for name, values in grown.items():
        values[at >= 0] -= before[name][at[at >= 0]].astype("i8")
    # Another thread may have the id now.
    known = (at >= 0) & (grown["time_ns"] > 0) & (grown["cpu_ns"] >= 0) & (grown["wait_ns"] >= 0)
    told = known & (now["throttled_ns"] >= 0)
    told[at >= 0] &= before["throttled_ns"][at[at >= 0]] >= 0
    waits = np.where(told, grown["wait_ns"] - grown["throttled_ns"], grown["wait_ns"])
    length = np.maximum(grown["time_ns"], 1)
    left, shares = np.ones(len(now)), []
    for ns, which in ((grown["cpu_ns"], known), (grown["throttled_ns"], told), (waits, known)):
        part = np.where(which, np.clip(ns / length, 0, left), 0)
        left = left - part
        shares.append([share if there else None for share, there in zip(part.tolist(), which.tolist(), strict=True)])
    busy, throttled, wait = shares
    pids, tids = (part.tolist() for part in unpack(now["id"]))
    names = [clean(comm.decode(errors="replace")) for comm in now["comm"].tolist()]
    roles = [ROLES[role] for role in now["role"].tolist()]
    cpus = [cpu if cpu >= 0 else None for cpu in now["cpu"].tolist()]
    rows = zip(pids, tids, roles, names, cpus, busy, wait, throttled, strict=True)
    vms = interval.after.vms
    return sorted(
        (OtherThread(*row) for row in rows),
        key=lambda one: (
            vms[one.pid].name if one.pid in vms else "",
            one.pid,
            ROLES.index(one.role),
            one.name,
            one.tid,
        ),
    )


def _told(interval: Interval, scope: Scope) -> list[OtherThread]:
    return [one for one in other_threads(interval, scope) if one.role in TOLD]


def busy(interval: Interval, scope: Scope = ALL) -> Iterator[Finding]:
    """The busiest thread of a scope, if it does all that it can."""
    for one in sorted(_told(interval, scope), key=lambda one: -(one.busy or 0))[:1]:
        if (one.busy or 0) >= BUSY_SHARE:
            polls = ", unless it polls" if one.role in POLLING else ""
            yield Finding(
                f"{_what(one)} of {_vm(interval, one)} is on a CPU {units.percent(one.busy)} of its time, and can"
                f" hardly do more{polls}",
                short=f"{_vm(interval, one)}: {_what(one)} is busy",
                scope=Scope(one.pid),
                state="user",
                evidence=(f"{_what(one)} (tid {one.tid}): {units.percent(one.busy)} on a CPU",),
            )


def waiting(interval: Interval, scope: Scope = ALL) -> Iterator[Finding]:
    """The thread of a scope that waits most for a CPU."""
    for one in sorted(_told(interval, scope), key=lambda one: -(one.wait or 0))[:1]:
        if (one.wait or 0) > WAIT_SHARE:
            why = blame.nobody_looks(one.throttled is not None)
            yield Finding(
                f"{_what(one)} of {_vm(interval, one)} waits for a CPU {units.percent(one.wait)} of its time: {why}",
                short=f"{_vm(interval, one)}: {_what(one)} waits",
                scope=Scope(one.pid),
                state="wait",
                evidence=(f"{_what(one)} (tid {one.tid}): {units.percent(one.wait)} ready to run, but not running",),
            )


def _what(one: OtherThread) -> str:
    return "the main thread" if one.role == "main" else one.name or f"thread {one.tid}"


def _vm(interval: Interval, one: OtherThread) -> str:
    vm = interval.after.vms.get(one.pid)
    return vm.name if vm else f"pid {one.pid}"
