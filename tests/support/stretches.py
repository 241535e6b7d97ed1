"""A made-up host whose db02 has four vCPUs and a slow exit, as the rings of single exits would tell it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from kvmtop.model.arrays import Array
from kvmtop.model.keys import pack
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.timeline import A_TASK, EXIT, RAN, SPAN, Stretch, Timeline
from kvmtop.model.vocabulary import ABSENT, KINDS, STATES, SVM, WRITE, DetailRequest

from .fake import SECOND, Host

MS, US = 1_000_000, 1_000
WEB, DB = 4000, 4100  # pids; their vCPUs' tids follow
RESTIC = pack(9921, 9921)
NPF, IO, MSR, HLT = 0x400, 0x7B, 0x7C, 0x78
CODE = 0xFFFFFFFF81000010


class Told:
    """Records as a test says, in ns after the beginning."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self._exits, self._spans = list[Array](), list[Array]()
        self._entered: dict[int, int] = {}

    def exit(self, thread: int, reason: int, begin: int, end: int, **fields: Any) -> None:
        """It was in the guest since the exit before."""
        row = np.zeros(1, EXIT)
        guest = self._entered.get(thread, 0)
        row["id"], row["reason"], row["isa"], row["number"] = thread, reason, SVM, len(self._exits) + 1
        row["guest_ns"], row["begin_ns"], row["end_ns"] = (self.start_ns + at for at in (guest, begin, end))
        for name, value in fields.items():
            row[name] = value
        self._entered[thread] = end
        self._exits.append(row)

    def does(self, thread: int, state: str, begin: int, end: int, **fields: Any) -> None:
        """Meanwhile; "ran": it had a CPU."""
        row = np.zeros(1, SPAN)
        row["id"], row["state"] = thread, RAN if state == "ran" else STATES.index(state)
        row["begin_ns"], row["end_ns"], row["number"] = self.start_ns + begin, self.start_ns + end, len(self._spans) + 1
        for name, value in fields.items():
            row[name] = value
        self._spans.append(row)

    def stretch(self, pid: int, ns: int, slow: tuple[int, int, int] | None = None, lost: int = 0) -> Stretch:
        """So long; slow: thread, begin and end of the exit that it is around of."""
        around = (slow[0], self.start_ns + slow[1], self.start_ns + slow[2]) if slow else None
        exits = np.concatenate([np.zeros(0, EXIT), *self._exits])
        spans = np.concatenate([np.zeros(0, SPAN), *self._spans])
        return Stretch(pid, self.start_ns, self.start_ns + ns, exits, spans, around, lost)


def db02(start_ns: int, slow: bool = True, seed: int = 1) -> Stretch:
    """116 ms: after 40, vCPU 2 has a page fault of 38 ms: asleep for 9, then behind restic for 6.7, then throttled."""
    at, told = random.Random(seed), Told(start_ns)
    ends = [40 * MS + 5 * MS, 40 * MS, 40 * MS + 100 * US, 40 * MS]
    for vcpu in range(4):
        thread, cpu, now = pack(DB, DB + 1 + vcpu), 4 + vcpu, 0
        while now < 116 * MS:
            begin = now + at.randrange(300 * US, 6 * MS)
            if slow and now < ends[vcpu] and begin >= 40 * MS:
                begin = 40 * MS + vcpu * US
                end = begin + 38_100 * US
                told.exit(
                    thread,
                    NPF,
                    begin,
                    end,
                    cpu=cpu,
                    kind=KINDS.index("fault"),
                    value=0x3A41000,
                    extra=WRITE | ABSENT,
                    rip=CODE,
                )
                if vcpu == 2:
                    told.does(thread, "blocked", begin + 200 * US, begin + 9200 * US, cpu=cpu)
                    told.does(
                        thread,
                        "wait",
                        begin + 9200 * US,
                        begin + 15_900 * US,
                        cpu=cpu,
                        by=A_TASK,
                        waker=pack(DB, DB),
                        comm=b"qemu-system-x86",
                    )
                    told.does(thread, "wait", begin + 15_900 * US, begin + 38 * MS, cpu=cpu, withheld=22_100 * US)
                    told.does(RESTIC, "ran", begin + 9200 * US, begin + 15_900 * US, cpu=cpu, comm=b"restic")
                else:
                    told.does(thread, "wait", begin + MS, begin + 38 * MS, cpu=cpu, withheld=37 * MS)
                told.does(thread, "ran", 0, begin + 200 * US, cpu=cpu)
                told.does(thread, "ran", begin + 38 * MS, 116 * MS, cpu=cpu)
                now = end
                continue
            reason, kind, length = at.choice(((IO, "io", 900 * US), (MSR, "msr", 300 * US), (HLT, "", 6 * MS)))
            end = begin + at.randrange(length // 3, length)
            told.exit(thread, reason, begin, end, cpu=cpu, kind=KINDS.index(kind), value=0x1F0 if kind else 0, rip=CODE)
            if reason == HLT:
                told.does(thread, "idle", begin + 50 * US, end - 20 * US, cpu=cpu)
            elif reason == IO:
                told.does(thread, "user", begin + 20 * US, end - 50 * US, cpu=cpu)
            now = end
        if not slow:
            told.does(thread, "ran", 0, 116 * MS, cpu=cpu)
    told.does(pack(WEB, WEB + 1), "ran", 50 * MS, 62 * MS, cpu=4)
    around = (pack(DB, DB + 3), 40 * MS + 2 * US, 40 * MS + 2 * US + 38_100 * US)
    return told.stretch(DB, 116 * MS, around if slow else None)


class Followed(Host):
    """db02, and web01; single exits are told while somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.add(WEB, "web01", 2)
        self.add(DB, "db02", 4)
        self.around = list[Stretch]()
        self.lost = 0
        self._since = 0

    def look(self, look: DetailRequest | None) -> None:
        if look and look.timeline and not (self.wish and self.wish.timeline):
            self._since = self.now
        super().look(look)

    def read(self) -> Snapshot:
        wish = self.wish.timeline if self.wish else None
        self.timeline = None
        if wish and self.now > self._since:
            recent = db02(self.now - SECOND // 2, slow=False) if wish[0] == DB else None
            self.timeline = Timeline(self._since, *wish, recent, tuple(self.around), self.lost)
        return super().read()
