"""What the dashboard itself costs: `python -m tests.bench.dashboard [--reasons 40] [--vcpus 8]`.

Runs the real program for some seconds over hand-built Snapshots that change each second, its frames going to
a terminal's driver that throws them away, and prints the CPU time of the whole process per second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from kvmtop.app import KvmtopApp
from kvmtop.snapshot import SVM, Names, Snapshot

from ..fake import SECOND, Host

SETTLE = 12.0  # seconds until the sparklines are full


class Many(Host):
    """So many vCPUs that all have so many reasons, with other numbers each second."""

    def __init__(self, reasons: int, vcpus: int, per_vm: int = 4) -> None:
        super().__init__(Names({SVM: {code: f"reason_{code:02}" for code in range(reasons)}}))
        self.random, self.reasons = random.Random(1), reasons
        for number in range(0, vcpus, per_vm):
            self.add(10_000 + 100 * number, f"vm{number // per_vm:03}", min(per_vm, vcpus - number))

    def advance(self) -> Snapshot:
        self.now += SECOND
        for tid in self.vcpus:
            for code in range(self.reasons):
                self.exits(tid, code, *[self.random.randrange(500, 50_000) for _ in range(3)])
            self.vcpus[tid].guest += SECOND // 2
        return super().read()

    def prepare(self, seconds: int) -> None:
        """Build the Snapshots beforehand: making them is no part of the product."""
        self.ready = [self.advance() for _ in range(seconds)]

    def read(self) -> Snapshot:
        return self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]


async def measure(host: Host, size: tuple[int, int], seconds: float) -> float:
    """CPU seconds per second."""
    app = KvmtopApp(host, interval=1.0)
    async with app.run_test(size=size):
        await asyncio.sleep(SETTLE)
        wall, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - cpu) / (time.monotonic() - wall)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reasons", type=int, default=40)
    parser.add_argument("--vcpus", type=int, default=8)
    parser.add_argument("--size", default="120x50")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    host = Many(options.reasons, options.vcpus)
    host.prepare(int(SETTLE + options.seconds) + 5)
    share = asyncio.run(measure(host, (width, height), options.seconds))
    print(f"{options.size}, {options.reasons} reasons, {options.vcpus} vCPUs: {100 * share:.2f} % of one core")


if __name__ == "__main__":
    main()
