"""A made-up fleet of VMs."""

from __future__ import annotations

import numpy as np

from kvmtop.model.arrays import Array
from kvmtop.model.histogram import BUCKETS
from kvmtop.model.provenance import HERE, Origin
from kvmtop.model.snapshot import CELL, SLOW, THREAD, Snapshot
from kvmtop.model.vocabulary import OUTSIDE, STATES, SVM, DetailRequest, Names, Vm

from .fake import NAMES, SECOND

WIDE = 20  # buckets that a reason's durations spread over

REASONS = 12


class Fleet:
    """So many vCPUs, four to a VM, each with 12 reasons of 1 to 2,000 exits a second; a Source."""

    origin: Origin = HERE
    trouble: str | None = None
    busy = ""

    def __init__(self, vcpus: int, seed: int = 1) -> None:
        self.random = random = np.random.default_rng(seed)
        count = vcpus * REASONS
        self.time_ns = self.start_ns = 1000 * SECOND
        self.threads, self.cells = np.zeros(vcpus, THREAD), np.zeros(count, CELL)
        pids = 10_000 + 100 * (np.arange(vcpus) // 4)
        self.threads["id"] = pids << 32 | (pids + 1 + np.arange(vcpus) % 4)
        self.threads["vcpu"], self.threads["isa"], self.threads["first_ns"] = np.arange(vcpus) % 4, SVM, self.start_ns
        self.cells["isa"], self.cells["reason"] = SVM, np.tile(0x70 + np.arange(REASONS), vcpus)
        self.cells["thread"], self.cells["min"] = np.repeat(np.arange(vcpus), REASONS), ~np.uint64(0)
        self.rates = np.exp(random.uniform(np.log(1), np.log(2000), count))
        self.first = np.tile(random.integers(20, 70, REASONS), vcpus) + random.integers(0, 5, count)
        shape = np.exp(-0.5 * ((np.arange(WIDE) - 6) / 3.5) ** 2)
        self.shape = shape / shape.sum()
        self.vms = {int(pid): Vm(int(pid), f"vm{n:03}", "qemu") for n, pid in enumerate(np.unique(pids))}
        self.names = Names({SVM: {0x70 + n: f"reason_{n}" for n in range(REASONS)} | dict(NAMES.reasons[SVM])})

    def read(self) -> Snapshot:
        """A second later."""
        random, cells, threads = self.random, self.cells.copy(), self.threads.copy()
        passed = SECOND + int(random.integers(0, 1_000_000))
        self.time_ns += passed
        counts = random.poisson(self.rates)
        hist = random.multinomial(counts, self.shape)
        middles = 2.0 ** (5.125 + (self.first[:, None] + np.arange(WIDE)) / 4)
        total = (hist * middles * random.uniform(0.98, 1.02, hist.shape)).sum(axis=1).astype("u8")
        cells["count"] += counts.astype("u8")
        cells["total"] += total
        cells["user"] += np.where(cells["reason"] == 0x7B, total // np.uint64(2), np.uint64(0))
        rows = np.repeat(np.arange(len(cells)), WIDE)
        buckets = (self.first[:, None] + np.arange(WIDE)).reshape(-1) % BUCKETS
        cells["hist"][rows, buckets] += hist.reshape(-1).astype("u8")
        seen = counts > 0
        cells["min"][seen] = np.minimum(cells["min"][seen], (middles[:, 0] * random.uniform(0.9, 1, len(cells)))[seen])
        cells["max"][seen] = np.maximum(cells["max"][seen], (middles[:, -1] * random.uniform(0.5, 1, len(cells)))[seen])
        spent = random.integers(0, SECOND // len(STATES), threads["states"].shape, "u8")
        spent[:, 0] += np.uint64(passed) - spent.sum(axis=1)
        threads["states"] += spent
        inside = random.random(len(threads)) < 0.7
        ago = random.integers(100, 5_000_000, len(threads), "u8")
        threads["state"] = np.where(inside, 0, STATES.index("kernel"))
        threads["since_ns"] = np.uint64(self.time_ns) - ago
        threads["exit_ns"] = np.where(inside, np.uint64(0), threads["since_ns"])
        threads["open"][:, OUTSIDE.index("kernel")] = np.where(inside, np.uint64(0), ago)
        threads["reason"] = 0x70 + random.integers(0, REASONS, len(threads))
        threads["pairs"] += counts.reshape(-1, REASONS).sum(axis=1).astype("u8")
        self.threads, self.cells = threads, cells
        tids = threads["id"].astype("u4").tolist()
        return Snapshot(
            time_ns=self.time_ns,
            start_ns=self.start_ns,
            threads=threads,
            cells=cells,
            names=self.names,
            thread_ids=np.arange(1, len(threads) + 1, dtype="u8"),
            cell_ids=np.arange(1, len(cells) + 1, dtype="u8"),
            vms=self.vms,
            cpus=dict(zip(tids, random.integers(0, 64, len(tids)).tolist(), strict=True)),
        )

    def look(self, look: DetailRequest | None) -> None:
        pass

    def slow(self) -> Array:
        return np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        return self.read()
