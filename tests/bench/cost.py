"""What each tool adds to an exit: `python -m tests.bench.cost [--kernel 6.12] [--only kvmtop] [--json FILE]`.

Boots the emulated AMD host with the instruction clock (one instruction, one ns; the same on any machine, and
whatever else it does), runs the same guest with each tool attached in turn, and prints how many instructions
more its vCPU thread needed for an exit, all of it: probe, event, record. A tool must show that it has seen the
exits, else there is no result.

To measure another thing, add a line to TOOLS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import kvmtop.bpf as kvmtop_bpf
from kvmtop.host.selftest_guest import Guest, Step

from ..hosts import amd, kernels

EXITS = 20_000
RUNS = 3
WARMING = 2000  # exits that kvmtop sees before, to check its raw kvm_exit by
EVENTS = Path("/sys/kernel/tracing/events/kvm")
PAIR = ("-e", "kvm:kvm_exit,kvm:kvm_entry")
BPFTRACE = """
tracepoint:kvm:kvm_exit { @start[tid] = nsecs; @reason[tid] = args->exit_reason; }
tracepoint:kvm:kvm_entry /@start[tid]/ {
    $ns = nsecs - @start[tid]; $reason = @reason[tid];
    @count[$reason] = count(); @sum[$reason] = sum($ns); @min[$reason] = min($ns); @max[$reason] = max($ns);
    delete(@start[tid]); delete(@reason[tid]);
}
"""

Seen = Callable[[], int | None]  # the exits that the tool has seen, once it has ended; None: it cannot say


def per_exit() -> float:
    """Instructions of the vCPU's thread for one CPUID exit."""
    guest = Guest([Step("cpuid", EXITS)])
    failures: list[str] = []
    start = time.thread_time_ns()
    guest._loop(0, failures)
    spent = time.thread_time_ns() - start
    guest.close()
    assert not failures, failures
    return spent / EXITS


def settle() -> None:
    """Until the machine has been idle for a while: whatever was started is attached then."""
    quiet = 0
    while quiet < 4:
        before = _idle()
        time.sleep(0.5)
        quiet = quiet + 1 if _idle() - before >= 0.45 else 0


def _idle() -> float:
    """Seconds without work since boot, of the one CPU."""
    return float(Path("/proc/uptime").read_text().split()[1])


@contextlib.contextmanager
def command(*argv: str, seen: str, divide: int = 1, cwd: str | None = None) -> Iterator[Seen]:
    """A tool that runs until SIGINT, and tells at its end how many events it saw: the pattern's first group."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd)

        def count() -> int | None:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(300)
            out.seek(0)
            text = out.read()
            found = re.search(seen, text)
            if not found:
                print(text[-2000:], file=sys.stderr)
            return int(found[1]) // divide if found else 0

        try:
            settle()
            yield count
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def kvmtop(*options: str, seen: str) -> Iterator[Seen]:
    """The program itself; it does not read in between, so that only the probes count."""
    with command(sys.executable, "-m", "kvmtop", "--batch", "-i", "3600", *options, seen=seen) as count:
        yield count


LOOK = """
import signal, sys
from kvmtop.bpf import collector
from kvmtop.bpf.kvm_exit import KvmExit
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import Guest, Step
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.output import summary
first, exits, kind, slow = sys.argv[1:]
if exits == "classic":
    collector.kvm_exit = lambda record, types: KvmExit(why="to be measured")
live = Live(look=DetailRequest(frozenset([kind] if kind else []), slow_ns=int(slow) or None))
guest = Guest([Step("cpuid", int(first)), Step("out", 10)])
guest.run()
guest.close()
if exits != "checked":
    print(live.read() and live.read().counted_by)
signal.sigwait([signal.SIGINT])
live.read()
print(summary.text(live.close()))
"""


@contextlib.contextmanager
def looking(kind: str = "", slow_ns: int = 0, exits: str = "raw") -> Iterator[Seen]:
    """kvmtop's counters, which are not read in between; kind, slow_ns: while somebody looks at these details.

    exits: told by raw kvm_exit, which has been checked before; by the classic one; or by that while it is checked.
    """
    argv = (sys.executable, "-c", LOOK, str(WARMING), exits, kind, str(slow_ns))
    told = {"raw": "^raw kvm_exit", "classic": "^classic kvm_exit: to be measured", "checked": "^"}[exits]
    with command(*argv, seen=rf"(?ms){told}.*^0x072: (\d+)") as count:
        yield lambda: (count() or 0) - WARMING


@contextlib.contextmanager
def kvmtop_elsewhere() -> Iterator[Seen]:
    """kvmtop that watches another VM than the one that is measured: one that does almost nothing."""
    other = subprocess.Popen([sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.5", "out:0"])
    try:
        settle()
        with kvmtop("--pid", str(other.pid), seen=r"(?m)^0x07b: (\d+)") as count:
            yield lambda: None if count() else 0
    finally:
        other.kill()
        other.wait()


@contextlib.contextmanager
def ftrace() -> Iterator[Seen]:
    """Both events into the kernel's ring buffer, which nobody reads."""
    instance = EVENTS.parents[1] / "instances" / "cost"
    instance.mkdir()
    (instance / "buffer_size_kb").write_text("1024")
    events = [instance / "events/kvm" / name / "enable" for name in ("kvm_exit", "kvm_entry")]

    def count() -> int:
        stats = (instance / "per_cpu/cpu0/stats").read_text()
        return sum(map(int, re.findall(r"(?:entries|overrun): (\d+)", stats)[:2])) // 2

    for event in events:
        event.write_text("1")
    try:
        yield count
    finally:
        for event in events:
            event.write_text("0")
        instance.rmdir()


@contextlib.contextmanager
def empty(raw: Collection[str]) -> Iterator[Seen]:
    """Two programs that do nothing, on raw tracepoints or on classic ones: what it costs to be called at all."""
    os.environ["BCC_KERNEL_SOURCE"] = str(Path(kvmtop_bpf.__file__).parent)
    import bcc

    bpf = bcc.BPF(text="int on_exit(void *ctx) { return 0; } int on_entry(void *ctx) { return 0; }")
    for name in ("exit", "entry"):
        if name in raw:
            bpf.attach_raw_tracepoint(tp=f"kvm_{name}", fn_name=f"on_{name}")
        else:
            bpf.attach_tracepoint(tp=f"kvm:kvm_{name}", fn_name=f"on_{name}")
    try:
        yield lambda: None
    finally:
        bpf.cleanup()


@contextlib.contextmanager
def recorded(*argv: str) -> Iterator[Seen]:
    with (
        tempfile.TemporaryDirectory() as folder,
        command(*argv, "-o", f"{folder}/data", seen=r"\((\d+) samples\)", divide=2) as count,
    ):
        yield count


@contextlib.contextmanager
def nothing() -> Iterator[Seen]:
    yield lambda: None


TOOLS: dict[str, Callable[[], AbstractContextManager[Seen]]] = {
    "bare": nothing,
    "empty raw pair": lambda: empty(raw=("exit", "entry")),
    "empty pair as kvmtop attaches it": lambda: empty(raw=("entry",)),
    "empty classic pair": lambda: empty(raw=()),
    "kvmtop --pid of another VM": kvmtop_elsewhere,
    "kvmtop": looking,
    "kvmtop, classic kvm_exit": lambda: looking(exits="classic"),
    "kvmtop, the raw one being checked": lambda: looking(exits="checked"),
    "kvmtop, CPUID leaves open": lambda: looking("cpuid"),
    "kvmtop, ports open": lambda: looking("io"),
    "kvmtop, guest code open": lambda: looking("rip"),
    "kvmtop, slow exits (1 ms) open": lambda: looking(slow_ns=1_000_000),
    "ftrace, both events": ftrace,
    "perf record": lambda: recorded("perf", "record", "-a", *PAIR),
    "perf kvm stat record": lambda: recorded("perf", "kvm", "stat", "record", "-a"),
    "bpftrace": lambda: command("bpftrace", "-e", BPFTRACE, seen=r"@count\[114\]: (\d+)"),
}


def measure(name: str) -> float:
    """The median of some runs. Raises RuntimeError where the tool has not seen them all."""
    with TOOLS[name]() as seen:
        found = [per_exit() for _ in range(RUNS)]
        count = seen()
        if count is not None and count < RUNS * EXITS:
            raise RuntimeError(f"{name} saw {count} of {RUNS * EXITS} exits: nothing was measured")
    settle()
    return statistics.median(found)


def here(names: list[str], out: IO[str]) -> None:
    """In the host."""
    per_exit()
    per_exit()  # the first touch of everything
    found = {}
    for name in names:
        found[name] = measure(name)
        print(f"{name:<34} {found[name]:8.1f} {found[name] - found['bare']:+8.1f}", file=out, flush=True)
    again = measure("bare")
    print(f"{'bare, again':<34} {again:8.1f} {again - found['bare']:+8.1f}", file=out, flush=True)
    print(json.dumps(found), file=out)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", choices=kernels.META, default="6.1")
    parser.add_argument("--only", action="append", help="part of a name; repeatable")
    parser.add_argument("--json", type=Path, default=Path("cost.json"), help="the results as a file (cost.json)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = ["bare"] + [n for n in TOOLS if n != "bare" and any(part in n for part in options.only or [""])]
    if options.here:
        here(names, sys.stdout)
        return 0
    argv = [sys.executable, "-m", "tests.bench.cost", "--here", *(f"--only={part}" for part in options.only or [])]
    done = amd.run(argv, kernel=options.kernel, icount=True, timeout=3600)
    if done.returncode:
        print(done.stdout)
        return done.returncode
    *_, last = done.stdout.strip().splitlines()
    found: dict[str, float] = json.loads(last)
    table(found, options.kernel)
    options.json.write_text(
        json.dumps({"kernel": options.kernel, "exits": EXITS, "instructions": found}, indent=2) + "\n"
    )
    return 0


def table(found: dict[str, float], kernel: str) -> None:
    """As docs/cost.md has it."""
    bare = found["bare"]
    ours = found.get("kvmtop", bare) - bare
    print(f"Linux {kernel}, emulated AMD host; a CPUID exit takes {bare:,.0f} instructions\n")
    print("| what is attached | instructions more an exit | of the exit | kvmtop = 1 |\n|---|--:|--:|--:|")
    for name, value in sorted(found.items(), key=lambda item: item[1]):
        if name != "bare":
            ratio = f"{(value - bare) / ours:.2f}" if ours else "–"
            print(f"| {name} | {value - bare:,.0f} | {(value - bare) / bare:.0%} | {ratio} |")


if __name__ == "__main__":
    sys.exit(main())
