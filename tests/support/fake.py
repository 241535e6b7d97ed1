"""Snapshots built by hand, for tests that need no kernel: a host whose vCPUs exit as they are told."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kvmtop.model.apic import NOT_RECORDED
from kvmtop.model.arrays import Array
from kvmtop.model.histogram import bucket_of
from kvmtop.model.provenance import HERE, Origin
from kvmtop.model.reasons import HLT
from kvmtop.model.scheduling import OTHER, Scheduling
from kvmtop.model.snapshot import CELL, SLOW, THREAD, TOUCH, Details, Snapshot, Stacks
from kvmtop.model.timeline import Timeline
from kvmtop.model.vocabulary import KINDS, OUTSIDE, STATES, SVM, DetailRequest, Names, Vm, looks_at

SECOND = 1_000_000_000
NAMES = Names(
    {
        1: {
            0: "EXCEPTION_NMI",
            1: "EXTERNAL_INTERRUPT",
            10: "CPUID",
            12: "HLT",
            30: "IO_INSTRUCTION",
            48: "EPT_VIOLATION",
        },
        2: {
            0x60: "interrupt",
            0x64: "vintr",
            0x72: "cpuid",
            0x77: "pause",
            0x78: "hlt",
            0x7B: "io",
            0x7C: "msr",
            0x400: "npf",
            0x10: "write_cr0",
        },
    },
    {1 << 31: "FAILED_VMENTRY"},
)


@dataclass
class Vcpu:
    pid: int
    tid: int
    number: int
    born: int
    cells: dict[tuple[int, int], Array] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))  # ns up to `since`
    state: str = ""  # that it is in; nothing is known before its first event
    since: int = 0  # up to when it is counted
    began: int = 0  # when the state began
    in_vmm: bool = False
    open: tuple[int, int, int] | None = None  # isa, reason, exit_ns
    parts: dict[str, int] = field(default_factory=dict)  # of the open exit up to `since`
    ended: int = 0
    nested: int = 0  # ns between exits of its guest's guest and the next entries, and of what has no end yet
    out: int = 0

    def turn(self, state: str, now: int) -> None:
        """Another state from now on."""
        if self.state:
            self.states[self.state] += now - self.since
            if self.open:
                self.parts[self.state] = self.parts.get(self.state, 0) + now - self.since
        self.in_vmm = state == "user" or (self.in_vmm and state not in ("guest", "kernel"))
        if state != self.state:
            self.state, self.began = state, now
        self.since = now


class Host:
    """Its clock is advanced by hand; it is a Source."""

    origin: Origin = HERE
    trouble: str | None = None
    busy = ""
    busy = ""

    def __init__(self, names: Names = NAMES, isa: int = SVM) -> None:
        self.isa = isa
        self.now = self.start = 1000 * SECOND
        self.names = names
        self.vcpus: dict[int, Vcpu] = {}
        self.vms: dict[int, Vm] = {}
        self.told: tuple[str, ...] = STATES
        self.counted_by: str | None = None
        self.counters: dict[str, Any] = {"lost": 0, "userspace": 0, "unpaired": 0, "overwritten": 0}
        self.scheduling: Scheduling | None = None  # tests put there what they are about
        self.stacks: Stacks | None = None
        self.timeline: Timeline | None = None
        self.others: Array = np.zeros(0, OTHER)
        self.apic = NOT_RECORDED
        self.closed = False
        self.wish: DetailRequest | None = None
        self.looked = 0  # since when
        self.touches: dict[tuple[int, str, int, int], Array] = {}
        self.slows: list[Array] = []

    def add(self, pid: int, name: str, vcpus: int = 1) -> None:
        self.vms[pid] = Vm(pid, name, "qemu")
        for number in range(vcpus):
            tid = pid + 1 + number
            self.vcpus[tid] = Vcpu(pid, tid, number, self.now)

    def exits(self, tid: int, reason: int, *durations: int, isa: int | None = None, **parts: int) -> None:
        """Let a vCPU have exits of so many ns, each with so many in these of OUTSIDE, the rest in the kernel.

        Halts are idle where nothing else is said. The vCPU's own time goes the same way.
        """
        isa, vcpu = self.isa if isa is None else isa, self.vcpus[tid]
        for ns in durations:
            mine = {"idle": ns - sum(parts.values())} | parts if (isa, reason) in HLT else parts
            self._count(vcpu, isa, reason, ns, mine)
            for state, part in mine.items():
                vcpu.states[state] += part
            vcpu.states["kernel"] += ns - sum(mine.values())

    def _count(self, vcpu: Vcpu, isa: int, reason: int, ns: int, parts: Mapping[str, int]) -> None:
        cell = vcpu.cells.setdefault((isa, reason), np.zeros(1, CELL))
        if not cell["count"]:
            cell["min"] = 2**64 - 1
        cell["count"] += 1
        cell["total"] += ns
        for state, part in parts.items():
            if state != "kernel":
                cell[state] += part
        cell["min"] = min(int(cell["min"][0]), ns)
        cell["max"] = max(int(cell["max"][0]), ns)
        cell["hist"][0, bucket_of(ns)] += 1

    def look(self, look: DetailRequest | None) -> None:
        if look != self.wish:
            self.looked, self.touches = self.now, {}
        self.wish = look

    def slow(self) -> Array:
        found, self.slows = self.slows, []
        return np.concatenate([np.zeros(0, SLOW), *found])

    def touch(self, tid: int, kind: str, value: int, extra: int, *durations: int, **parts: int) -> None:
        """Let a vCPU touch something in exits of so many ns, each with so many in these of OUTSIDE."""
        vcpu = self.vcpus[tid]
        if self.wish and not looks_at(self.wish.pids, vcpu.pid):
            return
        row = self.touches.setdefault((tid, kind, value, extra), np.zeros(1, TOUCH))
        row["id"], row["value"], row["extra"] = vcpu.pid << 32 | tid, value, extra
        row["kind"] = KINDS.index(kind)
        for ns in durations:
            row["count"] += 1
            row["exits"] += 1
            row["total"] += ns
            for state, part in parts.items():
                row[state] += part
            row["max"] = max(int(row["max"][0]), ns)
            row["hist"][0, bucket_of(ns)] += 1

    def linger(
        self,
        tid: int,
        reason: int,
        ns: int,
        user: int = 0,
        kind: str = "",
        value: int = 0,
        extra: int = 0,
        rip: int = 0,
        **parts: int,
    ) -> None:
        """Let a vCPU have a slow exit, with so many ns in user space and in these others of OUTSIDE."""
        vcpu, row = self.vcpus[tid], np.zeros(1, SLOW)
        if self.wish and not looks_at(self.wish.pids, vcpu.pid):
            return
        row["time_ns"], row["id"], row["ns"], row["user"] = self.now, vcpu.pid << 32 | tid, ns, user
        for state, part in parts.items():
            row[state] = part
        row["rip"], row["kind"], row["value"], row["extra"] = rip, KINDS.index(kind), value, extra
        row["vcpu"], row["reason"], row["isa"], row["cpu"] = vcpu.number, reason, self.isa, 1
        self.slows.append(row)

    def _details(self) -> Details | None:
        if self.wish is None:
            return None
        rows = [row.copy() for row in self.touches.values()]
        ids = np.arange(1, len(rows) + 1, dtype="u8")
        return Details(self.looked, self.wish, np.concatenate([np.zeros(0, TOUCH), *rows]), ids, {}, self.slow())

    def leave(self, tid: int, reason: int, state: str = "") -> None:
        """The vCPU exits now, as collector.bpf.c sees it; halts are idle at once where nothing else is said."""
        vcpu = self.vcpus[tid]
        vcpu.turn(state or ("idle" if (self.isa, reason) in HLT else "kernel"), self.now)
        vcpu.open, vcpu.parts = (self.isa, reason, self.now), {}

    def turn(self, tid: int, state: str) -> None:
        """It is in another of STATES from now on."""
        self.vcpus[tid].turn(state, self.now)

    def to_user(self, tid: int) -> None:
        """Its open exit reaches the VMM now."""
        assert self.vcpus[tid].open
        self.turn(tid, "user")

    def enter(self, tid: int) -> None:
        """It enters the guest now."""
        vcpu = self.vcpus[tid]
        vcpu.turn("guest", self.now)
        if vcpu.open:
            isa, reason, since = vcpu.open
            self._count(vcpu, isa, reason, self.now - since, vcpu.parts)
        vcpu.open = None

    def end(self, pid: int) -> None:
        self.vms[pid] = replace(self.vms[pid], ended=True)
        for vcpu in self.vcpus.values():
            if vcpu.pid == pid:
                vcpu.turn(vcpu.state, self.now)
                vcpu.ended = self.now

    def read(self) -> Snapshot:
        threads, cells = np.zeros(len(self.vcpus), THREAD), []
        ids: list[int] = []
        for row, vcpu in enumerate(self.vcpus.values()):
            thread = threads[row]
            thread["id"], thread["first_ns"], thread["end_ns"] = vcpu.pid << 32 | vcpu.tid, vcpu.born, vcpu.ended
            thread["vcpu"], thread["isa"], thread["since_ns"] = vcpu.number, self.isa, vcpu.began
            if not vcpu.ended:
                vcpu.turn(vcpu.state, self.now)
            thread["states"] = [vcpu.states[state] for state in STATES]
            left = (vcpu.ended or self.now) - vcpu.born - sum(vcpu.states.values())
            thread["states"][STATES.index("guest")] += max(left, 0)  # where nobody has said what it did
            thread["in_vmm"] = vcpu.in_vmm
            thread["nested_ns"], thread["out_ns"] = vcpu.nested, vcpu.out
            thread["state"] = STATES.index(vcpu.state or "guest")
            if vcpu.open:
                thread["isa"], thread["reason"], thread["exit_ns"] = vcpu.open
                thread["open"] = [vcpu.parts.get(state, 0) for state in OUTSIDE]
            for (isa, reason), cell in vcpu.cells.items():
                copy = cell.copy()
                copy["isa"], copy["reason"], copy["thread"] = isa, reason, row
                cells.append(copy)
                ids.append(vcpu.tid << 48 | isa << 32 | reason)
        return Snapshot(
            time_ns=self.now,
            start_ns=self.start,
            threads=threads,
            cells=np.concatenate(cells) if cells else np.zeros(0, CELL),
            thread_ids=np.array(list(self.vcpus), "u8"),
            cell_ids=np.array(ids, "u8"),
            names=self.names,
            vms=dict(self.vms),
            cpus={tid: tid % 4 for tid in self.vcpus},
            told=self.told,
            counted_by=self.counted_by,
            details=self._details(),
            scheduling=self.scheduling,
            stacks=self.stacks,
            timeline=self.timeline,
            others=self.others,
            apic=self.apic,
            **self.counters,
        )

    def close(self) -> Snapshot:
        self.closed = True
        return self.read()


class Busy(Host):
    """A host at work: each reading is a second later, with exits as a small server has them."""

    def __init__(self, vms: int = 2, vcpus: int = 2, seed: int = 1) -> None:
        super().__init__()
        self.random = random.Random(seed)
        for number in range(vms):
            name = ("web01", "db01", "cache01", "build01")[number % 4] + "x" * (number // 4)
            self.add(4000 + 100 * number, name, vcpus)

    def read(self) -> Snapshot:
        self.now += SECOND
        rnd = self.random
        for tid, vcpu in self.vcpus.items():
            if vcpu.ended or vcpu.open:
                continue
            spent = 0
            for reason, count, typical, user in (
                (0x7C, 40, 3_000, 0),
                (0x7B, 12, 30_000, 20_000),
                (0x60, 25, 4_000, 0),
                (0x400, 8, 9_000, 0),
                (0x72, 3, 2_000, 0),
            ):
                turns = range(rnd.randrange(count) + 1)
                durations = [int(rnd.lognormvariate(0, 0.7) * typical) + 500 + user for _ in turns]
                self.exits(tid, reason, *durations, user=user)
                spent += sum(durations)
            idle = rnd.randrange(300, 700) * 1_000_000
            self.exits(tid, 0x78, *[idle // 50] * 50)
            vcpu.states["guest"] += max(SECOND - spent - idle, 0)
        return super().read()
