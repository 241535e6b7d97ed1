"""Who had a CPU, or woke somebody, by a name that people know."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..model.keys import unpack
from ..model.scheduling import BEHIND, IDLE, INTERRUPT, OTHER_INTERRUPT, SOFTIRQ, TASK, TIMER, Process, Scheduling
from ..model.snapshot import Snapshot
from ..sanitize import clean

# The kernel's vectors, include/linux/interrupt.h.
_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")


@dataclass(frozen=True)
class Actor:
    """Who ran, or woke somebody: kinds are "vcpu", "vm thread", "kernel thread", "process", "idle", "interrupt",
    "softirq", "timer", "unknown"."""

    kind: str
    text: str  # "vCPU 0 of web01", "IO iothread1 of web01", "ksoftirqd/3", "tar (backup.service)", "timer interrupt"
    pid: int | None = None  # tgid of a task
    tid: int | None = None  # None of a process: its threads are one
    cgroup: str = ""


ON_ITS_WAY = Actor("idle", "an idle CPU on its way")  # what a thread waits for then is that its CPU wakes up
NOBODY_KNOWN = Actor("unknown", "not known")
TOO_EARLY = Actor("unknown", "before somebody looked")
_OTHERS = {
    IDLE: Actor("idle", "an idle CPU"),
    TIMER: Actor("timer", "timer interrupt"),
    OTHER_INTERRUPT: Actor("interrupt", "an interrupt"),
}


class Actors:
    """Those of one Snapshot."""

    def __init__(self, snapshot: Snapshot, scheduling: Scheduling) -> None:
        threads = snapshot.threads
        self._cgroups, self._processes = scheduling.cgroups, scheduling.processes
        self._vms = {pid: one.vm for pid, one in scheduling.processes.items() if one.vm}
        self._vms |= {pid: vm.name or f"pid {pid}" for pid, vm in snapshot.vms.items()}
        self._vcpus = {**scheduling.vcpus, **dict(zip(threads["id"].tolist(), threads["vcpu"].tolist(), strict=True))}
        # A vhost thread may be a kernel thread, of no process of its VM's.
        self._others = {tid: pid for pid, tid in map(unpack, snapshot.others["id"].tolist())}
        self._found: dict[int, Actor] = {}  # processes, by tgid

    def of(self, row: np.void) -> Actor:
        """Of a row of dtype CHARGE."""
        by, who = int(row["by"]), int(row["who"])
        if by == TASK:
            comm = clean(bytes(row["comm"]).decode(errors="replace"))
            return self._task(who, comm, bool(row["kernel"]), clean(self._cgroups.get(int(row["cgroup"]), "")))
        if by == INTERRUPT:
            return Actor("interrupt", f"interrupt {who}")
        if by == SOFTIRQ:
            return Actor("softirq", f"softirq {_SOFTIRQS[who] if who < len(_SOFTIRQS) else who}")
        return ON_ITS_WAY if by == IDLE and row["kind"] == BEHIND else _OTHERS.get(by, NOBODY_KNOWN)

    def name(self, thread: int) -> str:
        """Of a thread (tgid and tid, packed) of a VM, or of a process that is known; "" of others."""
        tgid, tid = unpack(thread)
        known = thread in self._vcpus or tid in self._others or tgid in self._vms or tgid in self._processes
        return self._task(thread, "", False, "").text if known else ""

    def _task(self, thread: int, comm: str, kernel: bool, cgroup: str) -> Actor:
        tgid, tid = unpack(thread)
        vm = self._vms.get(self._others.get(tid, tgid), "")
        if thread in self._vcpus:
            return Actor("vcpu", f"vCPU {self._vcpus[thread]} of {vm or f'pid {tgid}'}", tgid, tid, cgroup)
        if vm:
            return Actor("vm thread", f"{comm or f'thread {tid}'} of {vm}", tgid, tid, cgroup)
        if kernel:
            return Actor("kernel thread", comm or f"kernel thread {tid}", tgid, tid, cgroup)
        if tgid not in self._found:
            known = self._processes.get(tgid, Process(""))
            name, cgroup = known.name or comm or f"pid {tgid}", known.cgroup or cgroup
            self._found[tgid] = Actor("process", _process(name, cgroup), tgid, None, cgroup)
        return self._found[tgid]


def _process(name: str, cgroup: str) -> str:
    where = unit(cgroup)
    return f"{name} ({where})" if where else name


_SAYS_NOTHING = re.compile(r".*\.slice|init\.scope|emulator|libvirt|vcpu\d+|supervisor|payload|tasks|ns|\.lxc|")
_CONTAINER = re.compile(r"([0-9a-f]{12})[0-9a-f]{52}")


def unit(cgroup: str) -> str:
    """The last part of a cgroup's path that says whose it is: "backup.service", "docker-0123456789ab"; "" if none."""
    parts = [part for part in cgroup.split("/") if not _SAYS_NOTHING.fullmatch(part)]
    if not parts:
        return ""
    name = re.sub(r"\\x([2-7][0-9a-f])", lambda match: chr(int(match[1], 16)), parts[-1])  # as systemd escapes
    short = _CONTAINER.sub(r"\1", name)
    return clean(short.removesuffix(".scope") if short != name else name)
