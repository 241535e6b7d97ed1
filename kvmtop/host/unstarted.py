"""vCPUs that wait for their guest to start them: the events say of them what they say of any that is halted."""

from __future__ import annotations

import os
import re
import time

import numpy as np

from ..model.keys import unpack
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES
from . import processes

KNOWN = 3_000_000_000  # ns without an exit, though something may wake it now and then; and
AGE = 60.0  # seconds that its thread is there: firmware and a kernel take some to start all CPUs
IDLE = STATES.index("idle")
# Since Linux 5.17 (510958e99721) a vCPU that is halted sleeps in kvm_vcpu_halt, which calls kvm_vcpu_block; one that
# waits for an INIT or SIPI sleeps in kvm_vcpu_block alone (vcpu_block in arch/x86/kvm/x86.c).
_SINCE = (5, 17)
_SLEEPS, _HALTED = b"kvm_vcpu_block", b"kvm_vcpu_halt"
_START = 19  # of processes.stat()


class Unstarted:
    """Asked at each reading; looks at each sleep once."""

    def __init__(self) -> None:
        release = re.match(r"(\d+)\.(\d+)", os.uname().release)
        self._knows = release is not None and (int(release[1]), int(release[2])) >= _SINCE
        self._looks: dict[int, tuple[int, float | None]] = {}  # by thread: since when it sleeps; what _old_from() said

    def update(self, snapshot: Snapshot) -> dict[int, tuple[int, ...]]:
        """By pid, the numbers of a VM's vCPUs that wait to be started, as far as is known; not of others."""
        threads = snapshot.threads
        since, now = threads["since_ns"], time.clock_gettime(time.CLOCK_BOOTTIME)
        # One that has come out of its guest was started, and its exit was seen.
        waits = (threads["state"] == IDLE) & (threads["exit_ns"] == 0) & (threads["end_ns"] == 0) & (since > 0)
        long = threads["first_ns"] + np.uint64(KNOWN) <= snapshot.time_ns
        asleep = threads[waits & long] if self._knows else threads[:0]
        known, self._looks = self._looks, {}
        found: dict[int, list[int]] = {}
        pids, tids = unpack(asleep["id"])
        columns = pids, tids, asleep["since_ns"], asleep["vcpu"]
        for pid, tid, began, vcpu in zip(*(column.tolist() for column in columns), strict=True):
            look = known.get(tid)
            look = self._looks[tid] = look if look and look[0] == began else (began, _old_from(tid))
            if look[1] is not None and now >= look[1]:
                found.setdefault(pid, []).append(vcpu)
        return {pid: tuple(sorted(vcpus)) for pid, vcpus in found.items()}


def _old_from(tid: int) -> float | None:
    """When a thread that waits to be started is AGE old, s of CLOCK_BOOTTIME; None where it does not."""
    stack, stat = processes.of_thread(tid, "stack"), processes.stat(tid)
    if _SLEEPS not in stack or _HALTED in stack or not stat:
        return None
    return int(stat[1][_START]) / os.sysconf("SC_CLK_TCK") + AGE
