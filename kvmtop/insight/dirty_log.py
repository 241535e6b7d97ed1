"""KVM's dirty log at work, which tells a VMM what its guest has written: by what that costs the guest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .. import units
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.reasons import PML_FULL
from ..model.vocabulary import KINDS, LOGGED
from .accesses import change, seconds
from .finding import Finding
from .vcpus import VcpuRow

LEAST = 100.0  # writes a second to pages that the log had protected
ENTRIES = 512  # of a PML buffer, 4 KB each: Intel SDM vol. 3, 29.3.6
WHO = "a live migration or a backup reads the log, or a display that of its few pages"


def dirty_log(interval: Interval, vms: Sequence[VcpuRow]) -> Iterator[Finding]:
    """What was seen of it: of write-protection while somebody looks at page faults, of full PML buffers always."""
    yield from _protected(interval, vms)
    yield from _full(interval, vms)


def _protected(interval: Interval, vms: Sequence[VcpuRow]) -> Iterator[Finding]:
    rows, details = change(interval), interval.after.details  # none while nobody looks
    if rows is None or details is None or "fault" not in details.look.kinds:
        return
    rows = rows[(rows["kind"] == KINDS.index("fault")) & (rows["extra"] & LOGGED > 0) & (rows["count"] > 0)]
    pids = unpack(rows["id"])[0]
    for vm in vms:
        mine = rows[pids == vm.scope.pid]
        rate = float(mine["count"].sum()) / seconds(interval)
        if rate < LEAST:
            continue
        pages, which = np.unique(mine["value"], return_inverse=True)
        rounds = int(np.bincount(which, mine["count"]).max())  # each protects a page once
        again = f"the same one up to {rounds} times" if rounds > 1 else "each once"
        least = "at least " if details.dropped.get("fault") else ""
        yield Finding(
            f"KVM logs what {vm.vm} writes: {units.rate(rate)} writes/s met one of {least}{len(pages):,} pages that the"
            f" log had protected, {again}; {WHO}",
            short=f"{vm.vm}: dirty logging",
            scope=vm.scope,
            state="kernel",
        )


def _full(interval: Interval, vms: Sequence[VcpuRow]) -> Iterator[Finding]:
    rows, after = interval.rows, interval.after
    rows = rows[(rows["thread"] >= 0) & interval.are(PML_FULL) & (rows["count"] > 0)]
    pids = unpack(after.threads["id"][rows["thread"]])[0]
    for vm in vms if len(rows) else ():
        if rate := float(rows["count"][pids == vm.scope.pid].sum()) / interval.seconds:
            yield Finding(
                f"KVM logs what {vm.vm} writes: {units.rate(rate)} full PML buffers/s, so it writes"
                f" {rate * ENTRIES * 4096 / 1e6:,.1f} MB/s at least; {WHO}",
                short=f"{vm.vm}: dirty logging",
                scope=vm.scope,
                reason=(int(rows["isa"][0]), int(rows["reason"][0])),
                state="kernel",
            )
