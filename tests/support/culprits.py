"""A host where db02 is slow: its vCPU 1 waits behind web01 and others, and for a lock of its VMM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, BLOCKED, INTERRUPT, OTHER, TASK, TIMER, WOKEN, Placement, Process
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import DetailRequest

from .fake import SECOND, Host
from .scheduling import Scheduler

MS = 1_000_000
WEB, DB = 4000, 4100  # pids; their vCPUs' tids follow
SLOW = pack(DB, DB + 2)  # vCPU 1 of db02
STACK = ("futex_wait_queue", "futex_wait", "do_futex", "__x64_sys_futex", "do_syscall_64", "entry_SYSCALL_64")
BACKUP = "/system.slice/backup.service"


class Culprits(Host):
    """Each second vCPU 1 of db02 waits for 760 ms and is blocked for 250 ms in the next; told while somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.add(WEB, "web01", 2)
        self.add(DB, "db02", 2)
        self.scheduler: Scheduler | None = None
        self.wait = 760
        self.backup = "tar"
        self.others = np.zeros(3, OTHER)
        self.others["id"] = [pack(DB, DB), pack(DB, DB + 80), pack(DB, 995)]
        self.others["role"], self.others["comm"] = [0, 1, 3], [b"qemu-system-x86", b"IO iothread1", b"vhost-4100"]
        self.others["cpu"] = [2, 3, -1]
        self.memory: Mapping[int, Mapping[int, int]] = {}  # what it tells where it is asked for
        self._read = self.now
        self.asked: list[DetailRequest | None] = []

    def look(self, look: DetailRequest | None) -> None:
        """As live: another VM is another look."""
        if not self.asked or look != self.asked[-1]:
            self.asked.append(look)
        super().look(look)
        pid = look.sched if look else None
        if pid is None:
            self.scheduler = None
        elif not self.scheduler or self.scheduler.pid != pid:
            self.scheduler = Scheduler(self.now, pid)
            self.scheduler.stacks = {1: STACK}
            self.scheduler.processes = {812: Process(self.backup, BACKUP)}
            self.scheduler.running = np.array([0, pack(DB, DB + 2), 0, pack(WEB, WEB + 1)], "u8")
            self.scheduler.placements = {
                tid: Placement("0-3", False, (tid % 4 ^ 1,), 0) for tid in (WEB + 1, WEB + 2, DB + 1, DB + 2)
            }

    def read(self) -> Snapshot:
        """With the seconds since the last reading."""
        while self._read + SECOND <= self.now:
            self._read += SECOND
            self._second()
        self.others = self.others.copy()  # what a Snapshot has never changes
        self.others["time_ns"] = self.now
        self.scheduling = self.scheduler.read() if self.scheduler else None
        if self.scheduling and self.wish and self.wish.numa:
            self.scheduling = replace(self.scheduling, memory=self.memory)
        return super().read()

    def _second(self) -> None:
        self.others = self.others.copy()
        self.others["cpu_ns"] += np.array([30, 970, 110], "u8") * MS
        self.others["wait_ns"] += np.array([200, 10, 0], "u8") * MS
        states, now = self.vcpus[DB + 2].states, self.scheduler
        states["wait"] += self.wait * MS
        states["blocked"] += 50 * MS
        states["guest"] += SECOND - (self.wait + 50) * MS
        if not now or now.pid not in (0, DB):
            return
        left = self.wait
        for share, by, who, comm, kernel, count in (
            (520, TASK, pack(WEB, WEB + 1), b"CPU 0/KVM", 0, 130),
            (110, TASK, pack(37, 37), b"ksoftirqd/3", 1, 55),
            (100, TASK, pack(812, 812), b"tar", 0, 40),
            (20, TASK, pack(633, 640), b"sshd", 0, 9),
            (10, INTERRUPT, 24, b"", 0, 900),
        ):
            ns = min(share, left) * MS
            left -= min(share, left)
            if ns:
                now.charge(SLOW, BEHIND, by, who, ns=ns, count=count, comm=comm, kernel=kernel)
        now.charge(SLOW, WOKEN, TIMER, count=600)
        now.charge(SLOW, WOKEN, TASK, pack(DB, DB + 1), count=210)
        now.charge(SLOW, BLOCKED, TASK, pack(DB, DB), ns=50 * MS, count=10, stack=1, comm=b"qemu", max=7 * MS)
        now.woke(SLOW, *[3_500] * 600, *[5_000] * 150, *[40_000] * 40, *[1_150_000] * 19, 4_100_000)
