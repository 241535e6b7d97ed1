"""VMs that stand still as a whole: stopped by a signal, paused by their VMM, or closed while their process lives on.

Events tell which VMs have vCPUs that did nothing; only of those is /proc asked why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..model import reasons
from ..model.arrays import Array, Mask
from ..model.keys import unpack
from ..model.snapshot import Snapshot
from ..model.vocabulary import OUTSIDE, STATES, SVM, VMX
from . import processes

STOPPED, TRACED, PAUSED, CLOSED = "stopped", "traced", "paused", "closed"
EVERY = 3_000_000_000  # ns after which a VM is looked at again though nothing has changed
LEAST = 1_000_000_000  # ns that all of its vCPUs have slept
GUEST, IDLE, BLOCKED = (STATES.index(state) for state in ("guest", "idle", "blocked"))
# What a VMM may have to answer: ports, memory of no RAM, MSRs, hypercalls, VMGEXIT, TDCALL; and a shutdown of the CPU.
ANSWERED = {(VMX, code) for code in (2, 18, 30, 31, 32, 48, 49, 77, 84, 85)} | {
    (SVM, code) for code in (0x7B, 0x7C, 0x7F, 0x81, 0x400, 0x403)
}


@dataclass(frozen=True)
class _Look:
    """What was found of a VM, and of whom."""

    ns: int
    key: bytes
    state: str
    file: str | None  # by which it has a vCPU open


class Standstill:
    """Asked at each reading; remembers what it found."""

    def __init__(self) -> None:
        self._before_ns = 0
        self._looks: dict[int, _Look] = {}

    def update(self, snapshot: Snapshot, pids: Collection[int]) -> dict[int, str]:
        """STOPPED (TRACED: by a debugger), PAUSED or CLOSED for those of these VMs that are so, as far as is known.

        Paused: no vCPU has exited since the last reading, each has slept outside KVM_RUN for a second, and one at least
        had left the guest for nothing that a VMM must answer. It is so until a vCPU runs: to be woken for a moment, as
        by QEMU's monitor, is not enough.
        """
        before_ns, self._before_ns = self._before_ns, snapshot.time_ns
        threads = snapshot.threads[snapshot.threads["end_ns"] == 0]
        owners = unpack(threads["id"])[0].astype("i8")

        def without(busy: Mask) -> set[int]:
            return set(pids) - set(np.unique(owners[busy]).tolist())

        # No exits, and not in the guest: whatever else a thread does, the VM may have been closed.
        quiet = without(np.isin(threads["state"], (GUEST, IDLE)) | (threads["exit_ns"] > before_ns))
        asleep = without((threads["state"] != BLOCKED) | (threads["since_ns"] > snapshot.time_ns - LEAST))
        if not before_ns:
            return {}
        self._looks = {pid: look for pid, look in self._looks.items() if pid in quiet}
        for pid in quiet:
            last = self._looks.get(pid)
            mine = threads[owners == pid] if pid in asleep or (last and last.state == PAUSED) else None
            key = b"" if mine is None else mine["since_ns"].tobytes() + b"."
            if not last or last.key != key or snapshot.time_ns - last.ns >= EVERY:
                self._looks[pid] = _look(pid, mine, last, snapshot.time_ns, key)
        return {pid: look.state for pid, look in self._looks.items() if look.state}


def _look(pid: int, threads: Array | None, last: _Look | None, now: int, key: bytes) -> _Look:
    """threads: dtype THREAD, the vCPUs that are known of a VM that may be paused or stopped; else None."""
    file = last.file if last else None
    if not file or processes.vcpu_number(file) is None:
        file = processes.vcpu_file(pid)
    if not file and processes.may_see(pid) and processes.is_process(pid):
        return _Look(now, key, CLOSED, None)
    state = ""
    if threads is not None:
        tids = processes.threads(pid)
        if tids and all(map(processes.is_stopped, tids)):
            state = TRACED if any(map(processes.is_traced, tids)) else STOPPED
        elif len(threads):
            was = bool(last and last.state == PAUSED)
            if (was or _taken_out(threads).any()) and _outside(unpack(threads["id"])[1].tolist(), was):
                state = PAUSED
        elif last and _outside(tids, last.state == PAUSED):  # not one that is just being started
            state = PAUSED
    return _Look(now, key, state, file)


def _outside(tids: Sequence[int], awake: bool) -> bool:
    """Whether none of these threads is in KVM_RUN. awake: whether one that runs may be taken for none of the guest."""
    calls = [processes.system_call(tid) for tid in tids]
    known = bool(calls) and all(call and (awake or call != [b"running"]) for call in calls)
    return known and not any(map(processes.in_kvm_run, calls))


def _taken_out(threads: Array) -> Mask:
    """Those that left the guest for nothing that the VMM must answer: they would go on if it let them.

    A halt is of that kind where KVM itself halts, which shows in that it has; else the VMM does.
    """
    slept = threads["open"][:, OUTSIDE.index("idle")] > 0
    answered = reasons.is_one_of(threads, ANSWERED) | (reasons.is_one_of(threads, reasons.HLT) & ~slept)
    taken_out: Mask = ~answered
    return taken_out
