"""What the dashboard itself costs: `python -m tests.bench.dashboard [--reasons 40] [--vcpus 8]`.

Runs the real program for some seconds over hand-built Snapshots that change each second, its frames going to
a terminal that throws them away, and prints the CPU time of the whole process per second: all but the reading of
the BPF maps and of /proc, which tests.bench.reader measures.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed

from .large import Large
from .terminal import running

PAST = 200  # seconds that have passed: trends, area and heatmap are full
SETTLE = 5.0  # seconds until it has begun


async def measure(host: Large, size: tuple[int, int], seconds: float) -> float:
    """CPU seconds per second."""
    feed = LiveFeed(host)
    host.grow_old(feed, PAST)
    host.prepare(int(SETTLE + seconds) + 5)
    app = KvmtopApp(feed)
    async with running(app, size):
        await asyncio.sleep(SETTLE)
        wall, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - cpu) / (time.monotonic() - wall)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reasons", type=int, default=40)
    parser.add_argument("--vcpus", type=int, default=8)
    parser.add_argument("--size", default="160x48")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    host = Large(options.reasons, options.vcpus)
    share = asyncio.run(measure(host, (width, height), options.seconds))
    print(f"{options.size}, {options.reasons} reasons, {options.vcpus} vCPUs: {100 * share:.2f} % of one core")


if __name__ == "__main__":
    main()
