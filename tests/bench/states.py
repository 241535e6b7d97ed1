"""What telling states adds: `python -m tests.bench.states [--kernel 6.12] [--checkout before=DIR] [--only pipe]`.

Boots the emulated AMD host with the instruction clock, as cost.py does, and prints how many instructions more each
EVENT takes while kvmtop counts and nobody looks. Each --checkout (NAME=DIR, repeatable) is one more column: kvmtop as
it is in that directory.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kvmtop.host.selftest_guest import CODE, Guest, Step

from ..hosts import amd, kernels
from . import cost

TURNS, RUNS = 10_000, 3
COUNT = f"""{cost.WARM}
live = warmed(Live())
live.read()
until_asked()
for (_, code), count in counts(live.close()).items():
    print(f"{{code:#05x}}: {{count}}")
"""
SIGNAL_MSI = 0x4020AEA5
NMI = struct.pack("<IIII16x", 0xFEEFF000, 0, 4 << 8, 0)  # to all vCPUs
IRET = CODE + 0x800


def ahead() -> None:
    """This thread runs as soon as it is awake, and until it sleeps: so that every turn has the same switches."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def pipe() -> float:
    """Between two processes that are no vCPUs: half a round trip."""
    (ours, answer), (theirs, ask) = os.pipe(), os.pipe()
    ahead()
    if not os.fork():
        for _ in range(TURNS):
            os.read(theirs, 1)
            os.write(answer, b"x")
        os._exit(0)
    start = time.monotonic_ns()
    for _ in range(TURNS):
        os.write(ask, b"x")
        os.read(ours, 1)
    spent = time.monotonic_ns() - start
    os.wait()
    return spent / TURNS / 2


def turn() -> float:
    """This thread gives its CPU away, and has it back from a bystander that never sleeps: two switches."""
    ahead()  # two of the same rank take turns
    if not (other := os.fork()):
        while True:
            os.sched_yield()
    os.sched_yield()
    start = time.monotonic_ns()
    for _ in range(TURNS):
        os.sched_yield()
    spent = time.monotonic_ns() - start
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    return spent / TURNS


def looped(step: str) -> float:
    """Of the vCPU's thread alone."""
    guest, failures = Guest([Step(step, TURNS)]), list[str]()
    start = time.thread_time_ns()
    guest._loop(0, failures)
    assert not failures, failures
    return (time.thread_time_ns() - start) / TURNS


def halt() -> float:
    """Halted in KVM, and woken by an NMI, whose handler's IRET exits, too."""
    guest = Guest([Step("hlt", 0)], irqchip=True)
    guest.memory[8:12] = struct.pack("<HH", IRET, 0)  # the real mode's vector 2
    guest.memory[IRET : IRET + 1] = b"\xcf"

    def run() -> None:
        ahead()
        guest._loop(0, [])

    threading.Thread(target=run, daemon=True).start()
    time.sleep(0.2)
    start = time.monotonic_ns()
    for _ in range(TURNS):
        fcntl.ioctl(guest.vm, SIGNAL_MSI, NMI)
    return (time.monotonic_ns() - start) / TURNS


# What it is, the measurement, the reason of which kvmtop must have seen as many, and how many more the issue allows.
EVENTS: dict[str, tuple[str, Callable[[], float], int, str]] = {
    "switch": ("a bystander's switch", lambda: turn() / 2, 0, "150"),
    "pipe": ("a bystander's switch with its wake-up", pipe, 0, "237"),
    "cpuid": ("CPUID", lambda: looped("cpuid"), 0x72, "+0"),
    "out": ("`out` to user space", lambda: looped("out"), 0x7B, "+350"),
    "hlt": ("HLT with two switches and a wake-up, and IRET", halt, 0x78, "+1,000"),
}


def apart(measurement: Callable[[], float]) -> float:
    """In a process of its own, which takes its threads with it."""
    result, told = os.pipe()
    if not (pid := os.fork()):
        with contextlib.suppress(BaseException):
            os.write(told, struct.pack("d", measurement()))
        os._exit(0)
    os.close(told)
    answer = os.read(result, 8)
    os.close(result)
    os.waitpid(pid, 0)
    if not answer:
        raise RuntimeError("the measurement failed")
    return float(struct.unpack("d", answer)[0])


def measure(name: str, checkout: str) -> float:
    """The median of some runs, while the kvmtop of this checkout ("": none) counts. Raises RuntimeError."""
    _, measurement, reason, _ = EVENTS[name]
    apart(measurement)  # the first touch of everything
    argv = sys.executable, "-c", COUNT
    with (
        cost.command(*argv, seen=rf"(?m)^{reason:#05x}: (\d+)", cwd=checkout, ready=cost.READY)
        if checkout
        else cost.nothing() as seen
    ):
        found = [apart(measurement) for _ in range(RUNS)]
        count = seen() if checkout and reason else None
        if count is not None and count < RUNS * TURNS:
            raise RuntimeError(f"kvmtop saw {count} of {RUNS * TURNS} of {name}: nothing was measured")
    cost.settle()
    return statistics.median(found)


def here(names: list[str], checkouts: dict[str, str]) -> None:
    """In the host: a line of JSON for each measurement."""
    Path("/proc/sys/kernel/sched_rt_runtime_us").write_text("-1")
    Path("/sys/module/kvm/parameters/halt_poll_ns").write_text("0")
    for name in names:
        for checkout, directory in checkouts.items():
            print(json.dumps([name, checkout, measure(name, directory)]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", choices=kernels.META, default="6.1")
    parser.add_argument("--only", choices=EVENTS, action="append")
    parser.add_argument("--checkout", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or [*EVENTS]
    checkouts = {"": "", **dict(one.split("=", 1) for one in options.checkout), "now": os.getcwd()}
    if options.here:
        here(names, checkouts)
        return 0
    done = amd.run(
        [sys.executable, "-m", "tests.bench.states", "--here", *sys.argv[1:]],
        kernel=options.kernel,
        icount=True,
        timeout=3600,
    )
    if done.returncode:
        print(done.stdout)
        return done.returncode
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    found = {(name, checkout): instructions for name, checkout, instructions in lines}
    print(f"Linux {options.kernel}, emulated AMD host\n")
    print(f"| instructions | bare | {' | '.join([*checkouts][1:])} | allowed |")
    print("|---" + "|--:" * (len(checkouts) + 1) + "|")
    for name in names:
        text, _, _, allowed = EVENTS[name]
        bare = found[name, ""]
        added = " | ".join(f"{found[name, checkout] - bare:+,.0f}" for checkout in [*checkouts][1:])
        print(f"| {text} | {bare:,.0f} | {added} | {allowed} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
