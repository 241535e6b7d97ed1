"""The line above the figures in a log: when, what and how many; and the way that led here."""

from __future__ import annotations

import time

import numpy as np

from .. import units
from ..insight.vcpus import shares
from ..model.interval import Interval
from ..model.scope import ALL, Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES, Key, Vm, isa_name
from . import price

Place = tuple[Scope, Key | None]  # what is looked at: a scope, or a reason in it


def running(snapshot: Snapshot) -> list[str]:
    """How many VMs and vCPUs there are now."""
    vms = sum(not vm.ended for vm in snapshot.vms.values())
    vcpus = int((snapshot.threads["end_ns"] == 0).sum())
    return [f"{vms} VM{'s' * (vms != 1)}", f"{vcpus} vCPU{'s' * (vcpus != 1)}"]


def log_header(interval: Interval, when: float | None = None) -> str:
    """With where the vCPUs' time went. when: s since 1970, None for now."""
    after = interval.after
    parts = [
        time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(when)),
        isa_name(after.isa),
        *running(after),
        f"{units.rate(int(interval.rows['count'].sum()) / interval.seconds)} exits/s",
        f"{interval.seconds:.2f}s",
    ]
    if where := shares(interval, ALL):
        told = (state for state in STATES if where.get(state) != 0)  # of what is unknown, that it is
        parts.append(" ".join(f"{state} {units.percent(where.get(state))}" for state in told))
    parts += [price.words(after.price)] if after.price else []
    parts += [f"{name} {count}" for name, count in after.caveats.items() if count]
    return "  ".join(parts)


def trail(scope: Scope, snapshot: Snapshot | None, reason: Key | None) -> list[tuple[str, Place]]:
    """Where one is: names from the whole host downwards, each with the place that it leads to."""
    steps: list[tuple[str, Place]] = [("All VMs", (ALL, None))]
    if scope.pid is not None:
        vm = (snapshot.vms if snapshot else {}).get(scope.pid) or Vm(scope.pid, f"pid {scope.pid}")
        steps.append((vm.name + (" (ended)" if vm.ended else ""), (Scope(scope.pid), None)))
    if scope.thread is not None and snapshot is not None:
        rows = np.flatnonzero(snapshot.thread_ids == scope.thread)
        steps.append((f"vCPU {snapshot.threads['vcpu'][rows[0]]}" if len(rows) else "vCPU (gone)", (scope, None)))
    if reason and snapshot is not None:
        steps.append((snapshot.names.name(*reason), (scope, reason)))
    return steps
