"""A host at work at whom somebody looks, in every way that there is, or in none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kvmtop.model.apic import Apic
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, BLOCKED, IDLE, SOFTIRQ, TASK, TIMER, WOKEN, Placement, Process
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import HIT, KINDS, SAMPLED, WASTED, WRITE, DetailRequest, Key

from .fake import Busy, Host
from .others import Others
from .scheduling import Scheduler
from .stacks import COMPACTION, RUN, USERFAULT, Seen

EVERYTHING = DetailRequest(frozenset(KINDS) - {""}, slow_ns=1_000_000, sched=0, stacks=True)
NPF = 0x400


class Watched(Busy):
    """Its vCPUs touch things, are slow, wait, are woken and sleep, a little differently in each second."""

    def __init__(self, vms: int = 2, vcpus: int = 2) -> None:
        super().__init__(vms, vcpus)
        self.counted_by = "kvm:kvm_exit, which is there"
        self.unnamed = ""  # why the kernel's functions have no names
        self.apic = Apic({4000: (), 4100: ("APICV_INHIBIT_REASON_PIT_REINJ", "APICV_INHIBIT_REASON_X2APIC")}, "")
        self._scheduler: Scheduler | None = None
        self._stacks: Seen | None = None
        self.threads = Others()
        self.threads.add(4000, 4000, "main", "qemu-system-x86_")
        self.threads.add(4100, 4150, "worker", "worker", cpu=3)
        self.counters |= {"lost": 7, "userspace": 8, "unpaired": 9, "overwritten": 10, "ended_threads": 11}

    def look_at(self, only: Key | None = None, look: DetailRequest = EVERYTHING) -> None:
        """From now on, anew."""
        self.look(replace(look, only=only))
        if look.sched is not None:
            self._scheduler = Scheduler(self.now, look.sched)
        if look.stacks:
            base = replace(Host.read(self), vms={}, cpus={}, others=self.others[:0], scheduling=None, stacks=None)
            self._stacks = Seen(self, only, replace(base, details=None))
            self._stacks.pids = look.pids

    def look_away(self) -> None:
        """Nobody looks any more."""
        self.wish = self._scheduler = self._stacks = self.scheduling = self.stacks = None

    def read(self) -> Snapshot:
        """All of it a second later."""
        tids = [tid for tid, vcpu in self.vcpus.items() if not vcpu.ended]
        if self.wish:
            for tid in tids:
                self._touch(tid)
        if self._scheduler:
            for tid in tids:
                self._schedule(self._scheduler, tid)
            self._name(self._scheduler)
        self.vms[4100] = replace(self.vms[4100], quota="/machine/db01: 20 ms of 100 ms" if self.now % 3 else "")
        self.threads.grow(4000, cpu_ns=self.now % 10**9, wait_ns=70_000)
        self.others = self.threads.rows(self.now)
        snapshot = replace(super().read(), wall_ns=10**18 + self.now)
        if self._scheduler:
            memory = {4000: {0: 1 << 30, 1: self.now}, 4100: {}}
            vcpus = {pack(77, 78): 3}
            told = replace(self._scheduler.read(), memory=memory, vcpus=vcpus, unnamed=self.unnamed)
            snapshot = replace(snapshot, scheduling=told)
        if self._stacks:
            for n, tid in enumerate(tids):
                times = range(1, 3 + int(self.now // 10**9) % 1000)
                self._stacks.slept(tid, NPF, USERFAULT, *(5_000_000 + 1000 * t + tid for t in times))
                self._stacks.slept(tid, NPF, COMPACTION, 70_000 * len(times), waited=1000 * n)
                self._stacks.slept(tid, NPF, (), 9_000_000, state="wait")
                self._stacks.ran(tid, NPF, RUN, len(times) + n)
                self._stacks.ran(tid, NPF, (), 1, state="user")
            stacks = self.stacks and replace(self.stacks, lost=3, dropped=4, dropped_ns=self.now, unnamed=self.unnamed)
            snapshot = replace(snapshot, stacks=stacks)
        if snapshot.details:
            dropped = {"io": self.now // 10**9, "rip": 3}
            snapshot = replace(snapshot, details=replace(snapshot.details, dropped=dropped, undelivered=17))
        return snapshot

    def _touch(self, tid: int) -> None:
        rnd = self.random
        spent = [rnd.randrange(1000, 90_000) for _ in range(rnd.randrange(1, 9))]
        self.touch(tid, "io", 0x70, WRITE | 1 << 8, *spent, user=500)
        self.touch(tid, "msr", 0x830, WRITE, *spent[1:])
        self.touch(tid, "mmio", 0xFEB00000 + rnd.randrange(4) * 8, 0, *spent)
        self.touch(tid, "cpuid", rnd.randrange(3), 0, 2000)
        self.touch(tid, "fault", rnd.randrange(9) << 12, WRITE, 9000)
        self.touch(tid, "rip", 0xFFFFFFFF81000000 + rnd.randrange(5), 0, *spent)
        self.touch(tid, "rip", 0xFFFFFFFF81001000, SAMPLED, *[0] * 20)
        for value in (HIT, WASTED):
            self.touch(tid, "poll", value, 0, *spent)
        self.touch(tid, "window", 0, 0, 50_000)
        self.linger(tid, 0x7B, rnd.randrange(1, 40) * 10**6, 500_000, "io", 0x70, WRITE, 0xFFFFFFFF81000001, wait=9)
        self.linger(tid, NPF, 2_000_000)

    def _schedule(self, told: Scheduler, tid: int) -> None:
        rnd, thread = self.random, pack(self.vcpus[tid].pid, tid)
        ran = rnd.randrange(10**6, 10**8)
        told.charge(thread, BEHIND, TASK, pack(9000, 9001), ns=ran, comm=b"tar\xff", cgroup=1 << 40, max=ran)
        told.charge(thread, BEHIND, TASK, pack(4100, 4101), ns=ran // 2, comm=b"CPU 0/KVM")
        told.charge(thread, BEHIND, IDLE, ns=-1000, open=True)
        told.charge(thread, BEHIND, TASK, pack(2, 17), ns=7000, comm=b"kworker/0:1", kernel=1)
        told.charge(thread, BEHIND, SOFTIRQ, 3, ns=rnd.randrange(9) * 1000)
        told.charge(thread, WOKEN, TIMER, count=3)
        told.charge(thread, WOKEN, TASK, pack(77, 78), count=2)
        told.charge(thread, BLOCKED, TASK, pack(9000, 9001), ns=ran, call=(17, 5), stack=12, max=ran)
        told.woke(thread, ran // 100, 5000)
        self.vcpus[tid].states["wait"] += 2 * ran

    def _name(self, told: Scheduler) -> None:
        told.running = np.array([pack(4000, 4001), 0, 2**63 + 5], "u8")
        told.idle = {0: self.now // 3, 1: 10_000_000, 2: 0}
        told.cores = {0: 0, 4: 0, 1: 1, 5: 1}
        told.stacks = {12: ("folio_wait_bit", "filemap_fault"), 13: ()}
        told.processes = {9000: Process("tar", "/system.slice/backup.service"), 77: Process("qemu", vm="far01")}
        told.cgroups = {1 << 40: "/system.slice/backup.service"}
        told.placements = {
            4001: Placement("0-3,8", False, (4, 12), 1),
            4101: Placement("0-63", True, (), None),
        }
        told.calls = {(4000, 5): "/srv/disk.img"}
