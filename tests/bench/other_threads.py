"""What reading the VMs' other threads costs: `python -m tests.bench.other_threads [--vms 200] [--threads 6]`, as root.

Measures the CPU time of a reading, of threads that sleep all the time and of such that run twice a second, and of making
rows of them. The threads really run here, in processes that stand for the VMs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from kvmtop.host import processes
from kvmtop.host.other_threads import OtherThreads
from kvmtop.insight.other_threads import OtherThread, other_threads
from kvmtop.model.interval import diff
from kvmtop.model.snapshot import Snapshot
from tests.support.fake import Host

ROUNDS = 9
THREADS = """
import sys, threading, time
threading.stack_size(65536)
def run():
    while True:
        time.sleep(float(sys.argv[2]))
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=run, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """ms of CPU time, and what it gives."""
    start = time.process_time()
    found = work()
    return (time.process_time() - start) * 1000, found


def rows_of(before: Snapshot, after: Snapshot) -> list[OtherThread]:
    return other_threads(diff(before, after))


def measure(vms: int, threads: int, pause: float) -> str:
    """A line: ms of a first reading, of the later ones' median, and of their rows."""
    host, found = Host(), OtherThreads()
    argv = [sys.executable, "-S", "-c", THREADS, str(threads), str(pause)]
    with ExitStack() as stack:
        for _ in range(vms):
            process = stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout
            process.stdout.readline()
            host.add(process.pid, f"vm{process.pid}", 0)

        def read() -> Snapshot:
            host.others = found.update(host.read(), host.vms, list(processes.pids()))
            return host.read()

        first, before = timed(read)
        assert len(before.others) == vms * threads
        readings, rows = [], []
        for _ in range(ROUNDS):
            time.sleep(1)
            ms, after = timed(read)
            readings.append(ms)
            rows.append(timed(partial(rows_of, before, after))[0])
            before = after
    return f"{first:6.1f} {statistics.median(readings):6.1f} {statistics.median(rows):6.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.other_threads", description=__doc__.splitlines()[0])
    parser.add_argument("--vms", type=int, default=200)
    parser.add_argument("--threads", type=int, default=6)
    options = parser.parse_args()
    print("ms of CPU time    first  later   rows")
    for name, pause in (("asleep", 1e6), ("running", 0.5)):
        print(f"{name:<17} {measure(options.vms, options.threads, pause)}", flush=True)


if __name__ == "__main__":
    main()
