"""The command line: what to watch, where to show it, and the summary at the end."""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .errors import KvmtopError

if TYPE_CHECKING:  # numpy takes 0.1 s to import, which --help does not need
    from .labels import Labels
    from .snapshot import Look, Source

EXAMPLES = """\
examples:
  sudo kvmtop                              all VMs of this host, live
  sudo kvmtop --pid 4711                   one VM
  sudo kvmtop --duration 10 --dump out.txt ten seconds, summary in a file
  sudo kvmtop --batch --interval 5         a table every five seconds, for a log
  sudo kvmtop -T 10 -G kvm=intel           as kvm_service_time.stp was called

keys in the dashboard: ? for help, q to quit
"""
FLAVOURS = {"intel": 1, "amd": 2}
# snapshot.KINDS in the order in which people ask for them; numpy must not be imported for --help.
EVENTS = (
    "io", "mmio", "msr", "cpuid", "hypercall", "hyperv", "fault", "vector", "user", "vmgexit", "cr", "apic", "rip",
    "poll",
)  # fmt: skip
SLOW_EVERY = 0.1  # seconds, in which --slow prints what has come


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise KvmtopError(f"{message} (kvmtop --help lists the options)", 2)


def _seconds(least: float, most: float = math.inf) -> type[float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds {bounds}")
        return value

    return parse  # type: ignore[return-value]


def _pids(text: str) -> list[int]:
    pids = text.split(",")
    if not all(pid.isascii() and pid.isdigit() and len(pid) < 8 and 0 < int(pid) < 1 << 22 for pid in pids):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a process id, or a comma-separated list of them")
    return [int(pid) for pid in pids]


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := [kind for kind in kinds if kind not in ("all", *EVENTS)]:
        raise argparse.ArgumentTypeError(f"{unknown[0][:40]!r} is none of all, {', '.join(EVENTS)}")
    return list(EVENTS) if "all" in kinds else kinds


def _duration(text: str) -> int:
    """ns of "1ms", "500us", "2s"."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ns|us|µs|ms|s)", text)
    ns = round(float(match[1]) * {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}[match[2]]) if match else 0
    if not 0 < ns <= 3600e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time such as 1ms, 500us or 2s (up to an hour)")
    return ns


def _global(text: str) -> str:
    name, _, value = text.partition("=")
    if name != "kvm" or value not in FLAVOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither kvm=intel nor kvm=amd")
    return value


def parser() -> argparse.ArgumentParser:
    """All options, with their help."""
    p = _Parser(
        prog="kvmtop",
        description="top for KVM exits: what makes vCPUs leave, how often, how long and why.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("-p", "--pid", type=_pids, action="extend", default=[], metavar="PID",
                   help="watch this VM only; repeatable, or a comma-separated list")  # fmt: skip
    p.add_argument("-T", "--duration", type=_seconds(0.1), metavar="S", help="end after so many seconds")
    p.add_argument("-i", "--interval", type=_seconds(0.1, 3600), default=1.0, metavar="S",
                   help="seconds between two readings (default 1)")  # fmt: skip
    p.add_argument("-o", "--dump", type=Path, metavar="FILE", help="write the closing summary to FILE as well")
    p.add_argument("--kvm", choices=FLAVOURS, help="how to write the summary where the kernel does not tell")
    p.add_argument("-G", dest="kvm", type=_global, metavar="kvm=intel|amd", help="the same, as SystemTap spells it")
    p.add_argument("-b", "--batch", action="store_true",
                   help="a table per interval on standard output; also without a terminal")  # fmt: skip
    p.add_argument("--event", type=_kinds, action="extend", default=[], metavar="KIND",
                   help=f"also what exits touched: all, or some of {', '.join(EVENTS)}; comma-separated")  # fmt: skip
    p.add_argument("--slow", type=_duration, metavar="TIME",
                   help="print each exit that lasts so long (1ms, 500us, 2s), idle ones aside")  # fmt: skip
    p.add_argument("--guest-kallsyms", type=Path, metavar="FILE",
                   help="name guest code by a copy of the guest's /proc/kallsyms or System.map")  # fmt: skip
    p.add_argument("--memory-map", type=Path, metavar="FILE",
                   help="name addresses by the output of QEMU's `info mtree -f`")  # fmt: skip
    p.add_argument("--list", action="store_true", help="name the VMs that run here, and end")
    p.add_argument(
        "--doctor", action="store_true", help="what this machine offers, and a self-test; status 0 if all is well"
    )
    p.add_argument("--explain", metavar="NAME",
                   help="what an exit reason means, by its name or number, and end; list: all of them")  # fmt: skip
    p.add_argument("--json", action="store_true", help="with --doctor: as JSON")
    p.add_argument("--version", action="version", version=f"kvmtop {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - one return to each mode
    """Run kvmtop; the exit status: 0, 1 where this machine lacks something, 2 for wrong arguments."""
    if sys.stdout is None:  # whoever started this has closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        options = parser().parse_args(argv)
        if options.json and not options.doctor:
            raise KvmtopError("--json needs --doctor", 2)
        if options.explain is not None:
            return _explain(options.explain)
        if options.doctor:
            return _doctor(options.json)
        if options.list:
            return _list()
        return _run(options)
    except KvmtopError as error:
        print(f"kvmtop: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        print(f"kvmtop: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _list() -> int:
    from . import vms

    found = [(pid, count) for pid in sorted(vms.pids()) if (count := vms.vcpu_count(pid))]
    if not found:
        raise KvmtopError("no VM runs here, or this user may not see it (run as root): no process has a KVM vCPU")
    print(f"{'PID':>7} {'VCPUS':>5} NAME")
    for pid, count in found:
        print(f"{pid:>7} {count:>5} {vms.vm(pid).name}")
    return 0


def _explain(name: str) -> int:
    from . import reasons

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # A pipe has no width, and long lines are hard to read.
    sys.stdout.write(reasons.explain(name, min(shutil.get_terminal_size().columns, 100)))
    sys.stdout.flush()
    return 0


def _doctor(as_json: bool) -> int:
    from . import doctor

    text, well = doctor.report(as_json)
    sys.stdout.write(text)
    return 0 if well else 1


def _run(options: argparse.Namespace) -> int:
    if options.dump and not os.path.isdir(options.dump.parent):
        raise KvmtopError(f"cannot write {options.dump}: there is no directory {options.dump.parent}", 2)
    if options.dump and options.dump.is_dir():
        raise KvmtopError(f"cannot write {options.dump}: it is a directory", 2)
    from . import summary, vms

    if not vms.may_load_bpf():
        raise KvmtopError("loading BPF programs needs root: sudo kvmtop")
    from .live import Live
    from .snapshot import UNKNOWN

    labels = _labels(options)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    with _stopping() as stop:
        source = Live(options.pid, look=_look(options))
        try:
            if options.batch or not all(s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)):
                _batch(source, options, labels, stop)
            else:
                from .app import KvmtopApp

                for name in ("COLUMNS", "LINES"):  # a shell may export them: Textual would keep to this size for ever
                    os.environ.pop(name, None)
                app = KvmtopApp(
                    source, options.interval, options.duration, options.dump, FLAVOURS.get(options.kvm, UNKNOWN),
                    _look(options), labels,
                )  # fmt: skip
                app.run()
                if app.failure:
                    raise app.failure
        finally:
            # Also after a failure: what was counted is not lost.
            final = source.close()
            text = summary.text(final, FLAVOURS.get(options.kvm, UNKNOWN))
            status = _deliver(text, options.dump)
            if final.lost:
                print(f"kvmtop: {final.lost} exits were not counted: a BPF map was full", file=sys.stderr)
    return status


def _deliver(text: str, dump: Path | None) -> int:
    """The summary to its file and to standard output, each even if the other fails."""
    from . import summary

    status = 0
    if dump:
        try:
            summary.write(dump, text)
        except OSError as error:
            print(f"kvmtop: cannot write {dump}: {error.strerror}", file=sys.stderr)
            status = 1
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):  # those: the terminal or the reader has gone
            status = 1
            if error.__context__:  # what failed before says the same
                return status
            print(f"kvmtop: cannot write the summary to standard output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that INT, TERM and HUP set; the dashboard handles them itself."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in
              (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}  # fmt: skip
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look(options: argparse.Namespace) -> Look | None:
    """What the options ask to be looked at all the time."""
    from .snapshot import Look
    from .touched import POLLING, TOUCHED

    if not options.event and not options.slow:
        return None
    kinds = set(options.event) | (TOUCHED if options.slow else set())
    return Look(frozenset(kinds | POLLING if "poll" in kinds else kinds), slow_ns=options.slow)


def _labels(options: argparse.Namespace) -> Labels:
    from . import known
    from .labels import Labels
    from .symbols import Symbols

    symbols = Symbols.read(options.guest_kallsyms) if options.guest_kallsyms else Symbols()
    memory = known.MemoryMap.read(options.memory_map) if options.memory_map else None
    return Labels(symbols=symbols, memory=memory)


def _batch(source: Source, options: argparse.Namespace, labels: Labels, stop: threading.Event) -> None:
    from .batch import Batch
    from .stats import silence

    batch, warned = Batch(sys.stdout, labels), False
    start = time.monotonic()
    end = start + options.duration if options.duration else math.inf
    due = start
    if options.slow:
        batch.begin(source.read())
    while not stop.is_set() and due < end:
        due = max(due + options.interval, time.monotonic())
        due = due if end - due > options.interval / 100 else end  # sums of floats miss the end by a hair
        while (left := due - time.monotonic()) > 0 and not stop.wait(min(left, SLOW_EVERY if options.slow else left)):
            if options.slow:
                batch.slow(source.slow())
        snapshot = source.read()
        batch.write(snapshot)
        why = silence(snapshot)
        if why and not warned:
            print(f"kvmtop: {why}", file=sys.stderr)
            warned = True
