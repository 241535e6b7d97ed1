"""The VMs' threads that are no vCPUs, with what /proc/TID/schedstat and stat say of them.

A VM's threads are those of its process, and the kernel's that work for it: vhost-N, which is of no process before Linux
6.4, kvm-pit/N, kvm-nx-lpage-recovery-N (N is a thread of the VM). vCPUs are known by their events; one that has not
had any by its name, where its VMM has given it one. Idle threads cost a read of one file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..model.arrays import Array
from ..model.keys import pack, unpack
from ..model.scheduling import OTHER, ROLES
from ..model.snapshot import Snapshot
from ..model.vocabulary import Vm
from . import processes
from .throttled import Throttled

BUDGET = 2_000  # threads that are read in a reading: those that were not for longest
MOST = 20_000  # that are told, and of them
MOST_OF_VM = 512

# QEMU's "CPU 0/KVM", Firecracker's, Cloud Hypervisor's, crosvm's, kvmtool's.
_VCPU = re.compile(rb"CPU \d+/KVM|fc_vcpu|vcpu\d|crosvm_vcpu|kvm-vcpu")
_HELPER = re.compile(rb"(?:vhost-|kvm-pit/|kvm-nx-lpage-recovery-)(\d+)$")
_ROLES = (
    ("vhost", re.compile(rb"vhost-\d")),
    ("io", re.compile(rb"IO |iothread|iou-")),  # QEMU names its own "IO " and their id; the kernel io_uring's
    ("worker", re.compile(rb"(?i)pool-|.*worker")),  # QEMU's and GLib's pools, SPICE's, VNC's
)
_KTHREADD = 2


@dataclass
class _Thread:
    """A thread of the VM with this pid, where it is in /proc, and what was read of it last, as OTHER has it."""

    pid: int
    path: str
    schedstat: bytes = b""
    time_ns: int = 0
    cpu_ns: int = 0
    wait_ns: int = 0
    cpu: int = -1
    role: int = 0
    comm: bytes = b""
    told: bool = False  # it has been read, and is no vCPU


class OtherThreads:
    """Asked at each reading; remembers what it read."""

    def __init__(self) -> None:
        self._threads: dict[int, _Thread] = {}
        self._looked: set[int] = set()  # processes whose names have been looked at
        self._helpers: dict[int, int] = {}  # the kernel's threads that work for VMs: tid → a thread of the VM
        self._throttled = Throttled()

    def update(self, snapshot: Snapshot, vms: Mapping[int, Vm], pids: Collection[int]) -> Array:
        """Those of these VMs, dtype OTHER; pids: all processes. One that could not be read yet is not there."""
        alive = snapshot.threads["id"][snapshot.threads["end_ns"] == 0]
        vcpus = set(unpack(alive)[1].tolist())
        running = [pid for pid, vm in vms.items() if not vm.ended]
        known, self._threads = self._threads, {}
        for tid, thread in islice(self._there(running, vcpus, set(pids)), MOST):
            before = known.get(tid)
            self._threads[tid] = before if before and before.path == thread.path else thread
        for tid in sorted(self._threads, key=lambda tid: self._threads[tid].time_ns)[:BUDGET]:
            if not _read(tid, self._threads[tid]):
                del self._threads[tid]
        told = {tid: thread for tid, thread in self._threads.items() if thread.told}
        throttled = self._throttled.update({tid: thread.wait_ns for tid, thread in told.items()})
        rows = [
            (pack(t.pid, tid), t.time_ns, t.cpu_ns, t.wait_ns, throttled[tid], t.cpu, t.role, t.comm)
            for tid, t in told.items()
        ]
        return np.array(rows, OTHER)

    def _there(self, running: Iterable[int], vcpus: Collection[int], pids: set[int]) -> Iterator[tuple[int, _Thread]]:
        """The threads of VMs that are no known vCPUs, by tid."""
        owners: dict[int, int] = {}
        for pid in running:
            tids = processes.threads(pid)
            owners |= dict.fromkeys(tids, pid)
            others = (tid for tid in tids if tid not in vcpus)
            for tid in islice(others, MOST_OF_VM):
                yield tid, _Thread(pid, f"{pid}/task/{tid}")
        self._find_helpers(pids)
        for tid, worker in self._helpers.items():
            if worker in owners:
                yield tid, _Thread(owners[worker], str(tid))

    def _find_helpers(self, pids: set[int]) -> None:
        """Look at the names of processes that are new: kernel threads are processes, too."""
        self._looked &= pids
        self._helpers = {tid: worker for tid, worker in self._helpers.items() if tid in pids}
        for pid in sorted(pids - self._looked)[:BUDGET]:
            comm = processes.of_thread(pid, "comm").rstrip(b"\n")
            if comm == b"kthreadd" and pid != _KTHREADD:  # it is about to get its name
                continue
            self._looked.add(pid)
            match = _HELPER.match(comm)
            if match and (stat := processes.stat(pid)) and processes.is_kernels(stat[1]):
                self._helpers[pid] = int(match[1])


def _read(tid: int, thread: _Thread) -> bool:
    """Read a thread anew; False if it has gone, or if the kernel tells nothing of it."""
    schedstat, now = processes.of_thread(thread.path, "schedstat"), time.monotonic_ns()
    if schedstat.split() in ([], [b"0"] * 3):  # the latter: a kernel that does not keep these figures
        return False
    thread.time_ns = now
    if schedstat == thread.schedstat:  # it has not run since
        return True
    if not (stat := processes.stat(thread.path)):
        return False
    thread.comm, fields = stat
    thread.schedstat = schedstat
    thread.cpu_ns, thread.wait_ns = map(int, schedstat.split()[:2])
    thread.cpu = int(fields[processes.CPU])
    role = "main" if tid == thread.pid else next((role for role, name in _ROLES if name.match(thread.comm)), "other")
    thread.role = ROLES.index(role)
    thread.told = role == "main" or not _VCPU.match(thread.comm)
    return True
