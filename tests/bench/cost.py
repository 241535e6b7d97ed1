"""What each tool adds to an exit: `python -m tests.bench.cost [--kernel 6.12] [--only kvmtop] [--write]`.

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
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import kvmtop.bpf as kvmtop_bpf
from kvmtop.host.selftest_guest import Guest, Step

from ..hosts import amd, kernels

DOCUMENT = Path("docs/cost.md")
BEGIN, END = "<!-- tests.bench.cost --write -->", "<!-- end -->"  # around the table there
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
def command(*argv: str, seen: str, divide: int = 1, cwd: str | None = None, ready: str = "") -> Iterator[Seen]:
    """A tool that runs until SIGINT, and tells at its end how many events it saw: the pattern's first group.

    ready: what it writes once it is attached, if it does. Raises RuntimeError where it ends before.
    """
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
            while ready and ready.encode() not in os.pread(out.fileno(), 1 << 16, 0):
                if process.poll() is not None:
                    raise RuntimeError(f"{argv} ended at once")
                time.sleep(0.1)
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


# A guest whose exits kvmtop checks its raw kvm_exit by, for programs that begin with it.
WARM = f"""
import signal, sys
from kvmtop.bpf import collector, kvm_exit
from kvmtop.host import prices
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import Guest, Step
from kvmtop.model.exit_stats import counts
from kvmtop.model.vocabulary import DetailRequest

def warmed(live):
    guest = Guest([Step("cpuid", {WARMING}), Step("out", 10)])
    guest.run()
    guest.close()
    return live

def until_asked():
    print("attached", flush=True)
    signal.sigwait([signal.SIGINT])
"""
READY = "attached"

LOOK = f"""{WARM}
from kvmtop.output import summary
way, kind, slow, pid = sys.argv[1:]
if way == "classic":
    collector.kvm_exit = lambda record, types: kvm_exit.KvmExit(why="to be measured")
if way == "helper":
    kvm_exit._cast = lambda types: []
measured = way == "measured"
prices.MOMENT = 3600.0 if measured else prices.MOMENT
pids = frozenset([int(pid)] if int(pid) else [])
wish = DetailRequest(frozenset([kind] if kind else []), slow_ns=int(slow) or None, price=measured, pids=pids)
live = warmed(Live(look=wish))
if way != "checked":
    print(live.read().counted_by)
until_asked()
print(live.read().price)
print(summary.text(live.close()))
"""

TRACE = f"""{WARM}
live = warmed(Live())
live.read()
probes = live.timeline()
probes.start()
until_asked()
probes.freeze()
print("written:", probes.written)
probes.close()
live.close()
"""


@contextlib.contextmanager
def tracing() -> Iterator[Seen]:
    """The rings of single exits, which are not read in between."""
    with command(sys.executable, "-c", TRACE, seen=r"(?m)^written: (\d+)", ready=READY) as count:
        yield count


@contextlib.contextmanager
def looking(kind: str = "", slow_ns: int = 0, way: str = "raw", pid: int = 0) -> Iterator[Seen]:
    """kvmtop's counters, which are not read in between; kind, slow_ns: while somebody looks at these details, of this
    process alone where it is not 0.

    way: exits are told by raw kvm_exit, which has been checked before; by that with bpf_probe_read_kernel where it has
    something better ("helper"); by the classic one; or by that while it is checked. measured: by the raw one, while the
    kernel measures how long programs run.
    """
    argv = (sys.executable, "-c", LOOK, way, kind, str(slow_ns), str(pid))
    told = {"classic": "^classic kvm_exit: to be measured", "checked": "^"}.get(way, "^raw kvm_exit")
    with command(*argv, seen=rf"(?ms){told}.*^0x072: (\d+)", ready=READY) as count:
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


# As docs/cost.md calls them.
TOOLS: dict[str, Callable[[], AbstractContextManager[Seen]]] = {
    "nothing": nothing,
    "empty programs on two raw tracepoints": lambda: empty(raw=("exit", "entry")),
    "empty programs on classic kvm_exit and raw kvm_entry": lambda: empty(raw=("entry",)),
    "empty programs on two classic tracepoints": lambda: empty(raw=()),
    "kvmtop, for a VM that `--pid` leaves out": kvmtop_elsewhere,
    "**kvmtop**": looking,
    "kvmtop, the reason read by a helper (kernels before 6.2)": lambda: looking(way="helper"),
    "kvmtop with the classic kvm_exit": lambda: looking(way="classic"),
    "kvmtop while it checks the raw kvm_exit by the classic one": lambda: looking(way="checked"),
    "kvmtop while the kernel measures its programs": lambda: looking(way="measured"),
    "kvmtop while ports are looked at, and that is measured": lambda: looking("io", way="measured"),
    "kvmtop while CPUID leaves are looked at (one for each exit)": lambda: looking("cpuid"),
    "kvmtop while ports are looked at (nothing found)": lambda: looking("io"),
    "kvmtop while ports of another VM are looked at": lambda: looking("io", pid=1),
    "kvmtop while guest code is looked at": lambda: looking("rip"),
    "kvmtop while guest code of another VM is looked at": lambda: looking("rip", pid=1),
    "kvmtop while slow exits are looked at (nothing found)": lambda: looking(slow_ns=1_000_000),
    "kvmtop while every exit is traced (with its CPUID leaf)": tracing,
    "ftrace, both events into the ring buffer": ftrace,
    "perf record": lambda: recorded("perf", "record", "-a", *PAIR),
    "perf kvm stat record": lambda: recorded("perf", "kvm", "stat", "record", "-a"),
    "bpftrace with count, sum, min and max by reason": lambda: command(
        "bpftrace", "-e", BPFTRACE, seen=r"@count\[114\]: (\d+)"
    ),
}
KVMTOP = "**kvmtop**"


def measure(name: str) -> float:
    """The median of some runs. Raises RuntimeError where the tool has not seen them all."""
    with TOOLS[name]() as seen:
        found = [per_exit() for _ in range(RUNS)]
        count = seen()
        if count is not None and count < RUNS * EXITS:
            raise RuntimeError(f"{name} saw {count} of {RUNS * EXITS} exits: nothing was measured")
    settle()
    return statistics.median(found)


def here(names: list[str]) -> None:
    """In the host: a line for each, and all of them as JSON."""
    per_exit()
    per_exit()  # the first touch of everything
    found = {}
    for name in names:
        found[name] = measure(name)
        print(f"{name:<60} {found[name]:8.1f}", flush=True)
    again = measure("nothing")
    print(f"{'nothing, again':<60} {again:8.1f}", flush=True)
    print(json.dumps(found))


def measured(kernel: str, only: Sequence[str]) -> dict[str, float]:
    """On a host with this kernel: instructions of an exit by tool. Raises RuntimeError."""
    argv = [sys.executable, "-m", "tests.bench.cost", "--here", *(f"--only={part}" for part in only)]
    done = amd.run(argv, kernel=kernel, icount=True, timeout=7200)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\nLinux {kernel}: status {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """As docs/cost.md has it; found: by kernel, then tool."""
    last = [*found][-1]
    added = {kernel: {tool: value - one["nothing"] for tool, value in one.items()} for kernel, one in found.items()}
    head = " | ".join(f"Linux {kernel} | kvmtop = 1" for kernel in found)
    lines = [f"| instructions more for an exit, with | {head} |", "|---" + "|--:|--:" * len(found) + "|"]
    for name in sorted(added[last].keys() - {"nothing"}, key=lambda name: added[last][name]):
        cells = []
        for one in added.values():
            ratio = f"{one[name] / one[KVMTOP]:.2f}" if one.get(KVMTOP) else "–"
            cells.append(f"{one[name]:,.0f} | {ratio}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    bare = ", ".join(f"{one['nothing']:,.0f} (Linux {kernel})" for kernel, one in found.items())
    return "\n".join([*lines, "", f"Without any tool a CPUID exit takes {bare} instructions."])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", choices=kernels.META, action="append", help="repeatable; all of them without")
    parser.add_argument("--only", action="append", default=[], help="part of a name; repeatable")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT}")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        parts = [*options.only, "nothing"] if options.only else [""]
        here([name for name in TOOLS if any(part in name for part in parts)])
        return 0
    wanted = options.kernel or [*kernels.META]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda kernel: measured(kernel, options.only), wanted)
        text = table(dict(zip(wanted, results, strict=True)))
    print(text)
    if options.write:
        before, mark, rest = DOCUMENT.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise SystemExit(f"{DOCUMENT} has no place for the table: {BEGIN} … {END}")
        DOCUMENT.write_text(f"{before}{mark}\n{text}\n{end}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
