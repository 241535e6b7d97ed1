"""What looking at the scheduler, and at stacks, adds: `python -m tests.bench.scheduling [--kernel 6.12] [--only pipe]`.

Boots the emulated AMD host with the instruction clock, as states.py does, and prints how many instructions more each
EVENT takes while kvmtop counts, with its Scheduler page closed and open, and while it looks at the kernel's stacks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from kvmtop.host.selftest_guest import Guest, Step

from ..hosts import amd, kernels
from . import cost
from .states import RUNS, TURNS, apart, halt, looped, pipe, turn

COUNT = f"""{cost.WARM}
looks = dict(open=DetailRequest(sched=0), stacks=DetailRequest(stacks=True))
live = warmed(Live(look=looks.get(sys.argv[1])))
live.read()
until_asked()
last = live.read()
scheduling, stacks = last.scheduling, last.stacks
for state in ("idle", "wait"):
    off = stacks.off.items() if stacks else ()
    print(f"{{state}}: {{sum(one.times for stack, one in off if stack.state == state)}}")
for kind, name in (1, "behind"), (2, "woken"):
    charges = scheduling.charges if scheduling else None
    print(f"{{name}}: {{charges['count'][charges['kind'] == kind].sum() if scheduling else 0}}")
for (_, code), count in counts(live.close()).items():
    print(f"{{code:#05x}}: {{count}}")
"""


def wait() -> float:
    """A vCPU's thread gives its CPU away, and waits until a bystander gives it back: two switches and a wait."""
    guest, failures = Guest([Step("cpuid", 1)]), list[str]()
    guest._loop(0, failures)  # from now on it is known as a vCPU
    assert not failures, failures
    return turn()


# What it is, the measurement, and what kvmtop must have seen as often: closed, open, and with stacks.
EVENTS: dict[str, tuple[str, Callable[[], float], str, str, str]] = {
    "pipe": ("a bystander's switch with its wake-up", pipe, "", "", ""),
    "cpuid": ("CPUID", lambda: looped("cpuid"), "0x072", "0x072", "0x072"),
    "out": ("`out` to user space", lambda: looped("out"), "0x07b", "0x07b", "0x07b"),
    "hlt": ("HLT with two switches and a wake-up, and IRET", halt, "0x078", "woken", "idle"),
    "wait": ("a vCPU's wait, with two switches", wait, "", "behind", "wait"),
}
PAGES = ("closed", "open", "stacks")


def measure(name: str, page: str) -> float:
    """The median of some runs, while kvmtop counts with its page so ("": there is none). Raises RuntimeError."""
    _, measurement, *words = EVENTS[name]
    apart(measurement)  # the first touch of everything
    word = dict(zip(PAGES, words, strict=True)).get(page, "")
    counted: contextlib.AbstractContextManager[cost.Seen] = cost.nothing()
    if page:
        counted = cost.command(
            sys.executable, "-c", COUNT, page, seen=rf"(?m)^{word or 'behind'}: (\d+)", ready=cost.READY
        )
    with counted as seen:
        found = [apart(measurement) for _ in range(RUNS)]
        count = seen()
        if word and (count or 0) < RUNS * TURNS:
            raise RuntimeError(f"kvmtop saw {count} of {RUNS * TURNS} of {name}: nothing was measured")
    cost.settle()
    return statistics.median(found)


def here(names: list[str]) -> None:
    """In the host: a line of JSON for each measurement."""
    Path("/proc/sys/kernel/sched_rt_runtime_us").write_text("-1")
    Path("/sys/module/kvm/parameters/halt_poll_ns").write_text("0")
    for name in names:
        for page in ("", *PAGES):
            print(json.dumps([name, page, measure(name, page)]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", choices=kernels.META, default="6.1")
    parser.add_argument("--only", choices=EVENTS, action="append")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or [*EVENTS]
    if options.here:
        here(names)
        return 0
    argv = [sys.executable, "-m", "tests.bench.scheduling", "--here", *sys.argv[1:]]
    done = amd.run(argv, kernel=options.kernel, icount=True, timeout=3600)
    if done.returncode:
        print(done.stdout)
        return done.returncode
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    found = {(name, page): instructions for name, page, instructions in lines}
    print(f"Linux {options.kernel}, emulated AMD host\n")
    print(f"| instructions | bare | {' | '.join(PAGES)} |")
    print("|---" + "|--:" * (len(PAGES) + 1) + "|")
    for name in names:
        bare = found[name, ""]
        added = " | ".join(f"{found[name, page] - bare:+,.0f}" for page in PAGES)
        print(f"| {EVENTS[name][0]} | {bare:,.0f} | {added} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
