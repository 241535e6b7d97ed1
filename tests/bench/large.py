"""A host of any size whose vCPUs all exit all the time, as Snapshots made beforehand: for what comes after reading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kvmtop.model.arrays import Array
from kvmtop.model.provenance import HERE, Origin
from kvmtop.model.snapshot import CELL, SLOW, THREAD, Snapshot
from kvmtop.model.vocabulary import STATES, SVM, DetailRequest, Names, Vm
from kvmtop.ui.live_feed import LiveFeed

SECOND = 1_000_000_000
USUAL = (0.45, 0.08, 0.06, 0.32, 0.05, 0.03, 0.01)  # of STATES, on average


class Large:
    """A Source of so many vCPUs, each with all reasons, with other numbers each second."""

    origin: Origin = HERE
    trouble: str | None = None
    busy = ""

    def __init__(self, reasons: int, vcpus: int, per_vm: int = 4) -> None:
        rng = np.random.default_rng(1)
        threads = np.zeros(vcpus, THREAD)
        row = np.arange(vcpus)
        pids = 10_000 + row // per_vm * 10
        threads["id"] = pids.astype("u8") << np.uint64(32) | (pids + 1 + row % per_vm).astype("u8")
        threads["vcpu"], threads["isa"], threads["first_ns"] = row % per_vm, SVM, SECOND
        cells = np.zeros(vcpus * reasons, CELL)
        cells["thread"], cells["reason"] = np.repeat(row, reasons), np.tile(np.arange(reasons), vcpus)
        cells["isa"], cells["min"] = SVM, 500
        vms = {int(pid): Vm(int(pid), f"vm{number:04}", "qemu") for number, pid in enumerate(np.unique(pids))}
        names = Names({SVM: {code: f"reason_{code:02}" for code in range(reasons)}})
        tids = (threads["id"] & np.uint64(0xFFFFFFFF)).tolist()
        self._random, self._first = rng, 30 + rng.integers(0, 40, len(cells))
        self.now = Snapshot(
            time_ns=SECOND,
            start_ns=SECOND,
            threads=threads,
            cells=cells,
            thread_ids=row.astype("u8") + np.uint64(1),
            cell_ids=np.arange(1, len(cells) + 1).astype("u8"),
            names=names,
            vms=vms,
            cpus={tid: tid % 64 for tid in tids},
        )
        self.ready: list[Snapshot] = []

    def advance(self) -> Snapshot:
        """A second later."""
        threads, cells = self.now.threads.copy(), self.now.cells.copy()
        rows = np.arange(len(cells))
        for step in range(8):
            exits = self._random.integers(1, 20, len(cells)).astype("u8")
            cells["hist"][rows, self._first + step] += exits
            cells["count"] += exits
            cells["total"] += exits * np.uint64(20_000)
        spent = cells["total"] - self.now.cells["total"]
        cells["user"] += spent // np.uint64(5)
        cells["wait"] += spent // np.uint64(20)
        last = cells["reason"] == cells["reason"].max()
        cells["idle"][last] += spent[last] // np.uint64(2) + spent[last] // np.uint64(5)
        cells["max"] = 900_000
        shares = self._random.uniform(0.5, 1.5, (len(threads), len(STATES))) * USUAL
        shares[0, STATES.index("wait")] = shares[1, STATES.index("throttled")] = 0.5  # two findings
        threads["states"] += (shares / shares.sum(axis=1)[:, None] * SECOND).astype("u8")
        threads["pairs"] = np.bincount(cells["thread"], cells["count"])
        self.now = replace(self.now, time_ns=self.now.time_ns + SECOND, threads=threads, cells=cells)
        return self.now

    def grow_old(self, feed: LiveFeed, seconds: int) -> None:
        """Let so many seconds have passed: whatever shows a past has all of it then."""
        for _ in range(seconds):
            self.prepare(1)
            feed.read()

    def prepare(self, seconds: int) -> None:
        """Make so many Snapshots: that is no part of the product."""
        self.ready = [self.advance() for _ in range(seconds)]

    def read(self) -> Snapshot:
        """The next; the last one again and again."""
        return self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]

    def look(self, look: DetailRequest | None) -> None:
        """There are no details."""

    def slow(self) -> Array:
        """None either."""
        return np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        """The last."""
        return self.ready[-1]
