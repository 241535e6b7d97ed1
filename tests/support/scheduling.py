"""A made-up scheduler: what was charged to whom, as bpf/scheduling.bpf.c would count it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kvmtop.model.arrays import U64, Array
from kvmtop.model.histogram import bucket_of
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import CHARGE, LATENCY, Placement, Process, Scheduling

Key = tuple[int, int, int, int, int, int, bool]


class Scheduler:
    """Counts what a test says, since it began to look."""

    def __init__(self, since_ns: int, pid: int = 0) -> None:
        self._since_ns, self.pid = since_ns, pid
        self.charges: dict[Key, Array] = {}
        self.latencies: dict[int, Array] = {}
        self.running: U64 = np.zeros(0, "u8")
        self.stacks: Mapping[int, tuple[str, ...]] = {}
        self.processes: Mapping[int, Process] = {}
        self.cgroups: Mapping[int, str] = {}
        self.placements: Mapping[int, Placement] = {}
        self.idle: Mapping[int, int] = {}
        self.cores: Mapping[int, int] = {}
        self.calls: Mapping[tuple[int, int], str] = {}
        self._numbers: dict[Key, int] = {}

    def charge(
        self,
        thread: int,
        kind: int,
        by: int,
        who: int = 0,
        *,
        ns: int = 0,
        count: int = 1,
        call: tuple[int, int] | None = None,
        stack: int = -1,
        comm: bytes = b"",
        kernel: int = 0,
        cgroup: int = 0,
        max: int = 0,
        open: bool = False,
    ) -> None:
        """Add so much to a row. thread, and `who` of a TASK: tgid and tid, packed. open: to that of what is not over."""
        key = (thread, kind, by, who, pack(*call) if call else 0, stack, open)
        row = self.charges.setdefault(key, np.zeros(1, CHARGE))
        self._numbers.setdefault(key, len(self._numbers) + 1)
        for name, value in zip(("id", "kind", "by", "who", "call", "stack"), key, strict=False):
            row[name] = value
        row["comm"], row["kernel"], row["cgroup"] = comm, kernel, cgroup
        row["ns"] += ns
        row["count"] += 0 if open else count
        row["max"] = np.maximum(row["max"], max)

    def settle(self) -> None:
        """What was open is over: its rows stay, and have nothing to tell."""
        for key, row in self.charges.items():
            if key[-1]:
                row["ns"] = row["max"] = 0

    def woke(self, thread: int, *latencies: int) -> None:
        """It was woken, and ran after so many ns."""
        row = self.latencies.setdefault(thread, np.zeros(1, LATENCY))
        row["id"] = thread
        for ns in latencies:
            row["count"] += 1
            row["total"] += ns
            row["max"] = max(int(row["max"][0]), ns)
            row["hist"][0, bucket_of(ns)] += 1

    def read(self) -> Scheduling:
        """All of it, up to now."""
        return Scheduling(
            self._since_ns,
            self.pid,
            np.concatenate([np.zeros(0, CHARGE), *(row.copy() for row in self.charges.values())]),
            np.array([self._numbers[key] for key in self.charges], "u8"),
            np.concatenate([np.zeros(0, LATENCY), *(row.copy() for row in self.latencies.values())]),
            self.running.copy(),
            self.stacks,
            self.processes,
            self.cgroups,
            self.placements,
            calls=self.calls,
            cores=self.cores,
            idle=self.idle,
        )
