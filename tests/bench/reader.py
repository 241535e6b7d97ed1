"""What reading and modelling cost: `python -m tests.bench.reader [--vcpus 10,100,1000,10000] [--reasons 16]`, as root.

Fills the real BPF maps from user space, through the same mapping that the collector reads, as if every vCPU had
had exits of every reason in each interval (the worst case; --active 0.1 moves only a tenth of the vCPUs), and
measures the CPU time of what happens once a second: copy the maps, read /proc, take the difference to the last
reading, and make the dashboard's lines of reasons and list of vCPUs. The vCPUs are threads that really run here,
so that /proc has them. Every reading must hold exactly what was filled in.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kvmtop.bpf.collector import Collector
from kvmtop.host.live import Live
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.arrays import Array
from kvmtop.model.exit_stats import counts
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import SVM

PER_VM = 4  # vCPUs
BUCKETS_EACH = 12  # of a reason's histogram that fill, next to each other
ROUNDS = 7
THREADS = """
import os, sys, threading
threading.stack_size(65536)
wait = threading.Event()
for _ in range(int(sys.argv[1])):
    threading.Thread(target=wait.wait, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def vcpus(number: int) -> Iterator[list[tuple[int, int]]]:
    """(pid, tid) of so many sleeping threads, some to a process."""
    sizes = [min(PER_VM, number - first) for first in range(0, number, PER_VM)]
    # Processes are dear, threads are not: few processes stand for many VMs.
    groups = np.array_split(np.array(sizes), min(len(sizes), 50))
    running = []
    try:
        for group in groups:
            argv = [sys.executable, "-S", "-c", THREADS, str(group.sum())]
            running.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        found = []
        for process in running:
            assert process.stdout
            process.stdout.readline()
            tids = sorted(int(p.name) for p in Path(f"/proc/{process.pid}/task").iterdir())
            found += [(process.pid, tid) for tid in tids[1:]]
        yield found
    finally:
        for process in running:
            process.kill()
            process.wait()


class Filled:
    """A collector whose maps hold vCPUs that exit as advance() says, instead of the kernel."""

    def __init__(self, who: list[tuple[int, int]], reasons: int, active: float) -> None:
        self.count, self.reasons = len(who), reasons
        self.collector = Collector(threads=self.count)
        self.collector._probes.detach()  # a guest that runs here would take a slot
        self.threads, self.cells, self.cpus = (self.map(name) for name in ("threads", "cells", "cpus"))
        ids = np.array([pid << 32 | tid for pid, tid in who], "u8")
        now = time.monotonic_ns()
        mine = self.threads["head"][1 : self.count + 1]
        mine["id"], mine["first_ns"], mine["since_ns"], mine["isa"] = ids, now - 10**12, now, SVM
        mine["vcpu"] = np.arange(self.count) % PER_VM
        # Cells lie as they are taken: all vCPUs' first reason, then all their second.
        own = self.cells[1 : self.count * reasons + 1]
        own["thread"] = np.tile(np.arange(1, self.count + 1), reasons)
        own["reason"] = np.repeat(0x60 + np.arange(reasons), self.count)
        own["isa"], own["min"] = SVM, ~np.uint64(0)
        self.cpus["top_slot"][0], self.cpus["top_cell"][0] = self.count, len(own)
        self.moving = np.flatnonzero(np.random.default_rng(1).random(self.count) < active)
        self.exits = 0

    def map(self, name: str) -> Array:
        rows = self.collector._maps[name].rows
        assert rows is not None
        return rows

    def advance(self) -> None:
        """One interval's exits of each vCPU that moves: for each reason one in each of some buckets."""
        for reason in range(self.reasons):
            rows = 1 + reason * self.count + self.moving
            first = 40 + 2 * (reason % 16)
            self.cells["hist"][rows, first : first + BUCKETS_EACH] += 1
            self.cells["count"][rows] += BUCKETS_EACH
            self.cells["total"][rows] += BUCKETS_EACH * 10_000
            self.cells["user"][rows] += BUCKETS_EACH * 1_000
            self.cells["min"][rows] = 900
            self.cells["max"][rows] = 100_000_000
        rows = 1 + self.moving
        heads = self.threads["head"]
        heads["pairs"][rows] += BUCKETS_EACH * self.reasons
        heads["spent"][rows, 0] += 500_000_000
        heads["since_ns"][rows] = time.monotonic_ns()
        self.exits += len(self.moving) * BUCKETS_EACH * self.reasons

    def kernel_memory(self) -> int:
        """Bytes of the maps that can be read."""
        return self.threads.nbytes + self.cells.nbytes + self.cpus.nbytes


def measure(number: int, reasons: int, active: float) -> dict[str, float]:
    """CPU ms of each part, the median of some rounds; MB of maps and of this process."""
    with vcpus(number) as who:
        filled = Filled(who, reasons, active)
        live, session = Live(), Session()
        live._collector.close()
        live._collector = filled.collector
        spent: dict[str, list[float]] = {}
        for turn in range(ROUNDS + 2):
            filled.advance()
            clock = [time.process_time()]
            snapshot = live.read()
            clock.append(time.process_time())
            interval = session.add(snapshot)
            clock.append(time.process_time())
            lines = session.lines(interval, trend=10)
            clock.append(time.process_time())
            found = vcpu_rows(session, interval)
            clock.append(time.process_time())
            if turn >= 2:
                for name, ms in zip(("read", "model", "reasons", "vCPUs"), np.diff(clock) * 1000, strict=True):
                    spent.setdefault(name, []).append(float(ms))
            # Nothing lost: in total, in the interval, in its histograms, and in the list of vCPUs.
            expected = len(filled.moving) * BUCKETS_EACH * reasons
            assert sum(counts(snapshot).values()) == filled.exits
            assert sum(line.reason.count for line in lines) == expected
            assert sum(sum(line.reason.hist) for line in lines) == expected
            assert round(sum(m.rate for m in found if m.scope.thread is None) * interval.seconds) == expected
            assert len(snapshot.threads) == number
        filled.threads["head"]["id"][:] = 0  # theirs are no threads that the kernel could end
        live.close()
        medians = {name: float(np.median(ms)) for name, ms in spent.items()}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {**medians, "all": sum(medians.values()), "maps": filled.kernel_memory() / 1e6, "process": memory}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vcpus", default="10,100,1000,10000")
    parser.add_argument("--reasons", type=int, default=16)
    parser.add_argument("--active", type=float, default=1.0, help="share of the vCPUs that exit at all")
    options = parser.parse_args()
    print("| vCPUs | cells | read ms | model ms | reasons ms | vCPUs ms | all ms | µs a vCPU | maps MB | process MB |")
    print("|--:" * 10 + "|")
    for number in map(int, options.vcpus.split(",")):
        row = measure(number, options.reasons, options.active)
        figures = " | ".join(f"{row[name]:.1f}" for name in ("read", "model", "reasons", "vCPUs", "all"))
        each = 1000 * row["all"] / number
        print(
            f"| {number:,} | {number * options.reasons:,} | {figures} | {each:.0f} | {row['maps']:.0f} | {row['process']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
