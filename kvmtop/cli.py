"""The command line: what to watch, where to show it, and the summary at the end."""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .ending import Ending
from .errors import KvmtopError, fault, tell

if TYPE_CHECKING:  # numpy takes 0.1 s to import, which --help does not need
    from .model.provenance import Origin
    from .model.snapshot import Snapshot
    from .model.source import Source
    from .model.vocabulary import DetailRequest
    from .output.batch import Batch
    from .output.http_server import Server
    from .output.stream import Output
    from .recording.reader import Recording
    from .reference.labels import Labels
    from .tables.row_choice import RowChoice

EXAMPLES = """\
examples:
  sudo kvmtop                              all VMs of this host, live
  sudo kvmtop --vm web01                   one VM, by its name
  sudo kvmtop --duration 10 --dump out.txt ten seconds, summary in a file
  sudo kvmtop --batch --interval 5         a table every five seconds, for a log
  sudo kvmtop --json | jq .totals.rate     an object every second, for programs
  sudo kvmtop --openmetrics 9960           for Prometheus, beside the dashboard
  sudo kvmtop -T 10 -G kvm=intel           as kvm_service_time.stp was called
  sudo kvmtop --record FILE                keep everything that is seen
  kvmtop --replay FILE                     look at it again, without root or KVM

keys in the dashboard: ? for help, q to quit
"""
FLAVOURS = {"intel": 1, "amd": 2}
# KINDS of model/vocabulary.py in the order in which people ask for them; numpy must not be imported for --help.
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
            value = float(text) if text.isascii() else math.nan  # it would take the digits of any script
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


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of reasons, 1 or more")
    return int(text)


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := [kind for kind in kinds if kind not in ("all", *EVENTS)]:
        raise argparse.ArgumentTypeError(f"{unknown[0][:40]!r} is none of all, {', '.join(EVENTS)}")
    return list(EVENTS) if "all" in kinds else kinds


def _duration(text: str) -> int:
    """ns of "1ms", "500us", "2s"."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ns|us|µs|ms|s)", text, re.ASCII)
    ns = round(float(match[1]) * {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}[match[2]]) if match else 0
    if not 0 < ns <= 3600e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time such as 1ms, 500us or 2s (up to an hour)")
    return ns


def _global(text: str) -> str:
    name, _, value = text.partition("=")
    if name != "kvm" or value not in FLAVOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither kvm=intel nor kvm=amd")
    return value


def _file(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a file")
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")  # as the socket module will, which fails with this error
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"{host[:60]!r} is no address and no name of a host") from None
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not [ADDR:]PORT, such as 9960, 0.0.0.0:9960 or [::]:9960")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


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
    p.add_argument("--vm", action="append", default=[], metavar="NAME",
                   help="VMs of this name (also Proxmox's VMID, a UUID) or pattern ('web*') only, those that start"
                        " later too; repeatable")  # fmt: skip
    p.add_argument("-T", "--duration", type=_seconds(0.1), metavar="S", help="end after so many seconds")
    p.add_argument("-i", "--interval", type=_seconds(0.1, 3600), default=1.0, metavar="S",
                   help="seconds between two readings (default 1)")  # fmt: skip
    p.add_argument("-o", "--dump", type=Path, metavar="FILE", help="write the closing summary to FILE as well")
    p.add_argument("--kvm", choices=FLAVOURS, help="how to write the summary where the kernel does not tell")
    p.add_argument("-G", dest="kvm", type=_global, metavar="kvm=intel|amd", help="the same, as SystemTap spells it")
    p.add_argument("-b", "--batch", action="store_true",
                   help="a table per interval on standard output; also without a terminal, or on one that TERM"
                        " calls dumb, unknown or nothing at all")  # fmt: skip
    p.add_argument("--reason", metavar="REGEX", help="in tables, --json, --csv and --compare: only these reasons")
    p.add_argument("--sort", metavar="COLUMN", help="sort tables, --json and --csv: reason, rate, time, avg, p99, …")
    p.add_argument(
        "--top", type=_count, metavar="N", help="in tables, --json, --csv and --compare: the first N reasons"
    )
    p.add_argument("--no-idle", action="store_true",
                   help="leave out idle reasons, as the key i does; time shares of tables are of the rest")  # fmt: skip
    p.add_argument("--record", type=Path, metavar="FILE", help="write every reading to FILE, for --replay")
    p.add_argument("--replay", type=Path, metavar="FILE", help="show a recording instead of this host")
    p.add_argument("--demo", nargs="?", const="amd", choices=("amd", "intel"),
                   help="show a recording that comes with kvmtop (amd: QEMU guests; intel: a test guest)")  # fmt: skip
    p.add_argument("--compare", nargs=2, metavar=("A", "B"),
                   help="how two recordings differ, or parts of them: FILE@FROM:TO, in seconds")  # fmt: skip
    p.add_argument("--live", action="store_true",
                   help="this host even if no VM runs; without any option, the demo is shown then")  # fmt: skip
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
    p.add_argument("--json", nargs="?", const="-", type=_file, metavar="FILE",
                   help="an object per interval, and the summary as the last, on standard output or in FILE;"
                        " with --doctor: its report")  # fmt: skip
    p.add_argument("--csv", nargs="?", const="-", type=_file, metavar="FILE",
                   help="a row per interval, VM and reason, on standard output or in FILE")  # fmt: skip
    p.add_argument("--openmetrics", type=_address, metavar="[ADDR:]PORT",
                   help="serve /metrics for Prometheus, on this host alone without ADDR")  # fmt: skip
    p.add_argument("--version", action="version", version=f"kvmtop {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - one return to each mode
    """Run kvmtop; the exit status: 0, 1 where this machine lacks something, 2 for wrong arguments."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
    try:
        options = parser().parse_args(argv)
        if options.explain is not None:
            return _explain(options.explain)
        if options.doctor:
            return _doctor(options.json is not None)
        if options.list:
            return _list()
        if options.compare:
            return _compare(options, screen=_terminal() and not options.batch)
        return _run(options, bare=not (sys.argv[1:] if argv is None else argv))
    except KvmtopError as error:
        tell(error)
        return error.status
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        tell(error.strerror or error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        tell(fault(error))
        return 1


def _list() -> int:
    from .host import processes

    found = [(pid, count) for pid in sorted(processes.pids()) if (count := processes.vcpu_count(pid))]
    if not found:
        raise KvmtopError(
            processes.namespace()
            or "no VM runs here, or this user may not see it (run as root): no process has a KVM vCPU"
        )
    print(f"{'PID':>7} {'VCPUS':>5} NAME")
    for pid, count in found:
        print(f"{pid:>7} {count:>5} {processes.vm(pid).name}")
    return 0


def _explain(name: str) -> int:
    from .reference import exit_reasons

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # A pipe has no width, and long lines are hard to read.
    sys.stdout.write(exit_reasons.explain(name, min(shutil.get_terminal_size().columns, 100)))
    sys.stdout.flush()
    return 0


def _compare(options: argparse.Namespace, screen: bool) -> int:
    from .insight.compare import RecordingSpan, changes
    from .model.selection import Selection
    from .tables.compare import text

    if options.sort:
        raise KvmtopError("--sort is not for --compare: < and > sort it on the screen", 2)
    choice, selection = _choice(options), Selection.of(options.vm)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    a, b = (RecordingSpan.read(name, selection) for name in options.compare)
    found = changes(a, b, choice.keeps)[: choice.top]
    failure = None
    if screen:
        with Ending() as ending:
            _take_terminal()
            from .ui.compare_app import Comparison

            app = Comparison(a, b, found)
            app.run_until(ending)
            failure = app.failure
    for line in text(a, b, found):
        print(line)
    if failure:
        raise failure
    return 0


def _doctor(as_json: bool) -> int:
    from .host import doctor

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return 0 if doctor.report(as_json, sys.stdout) else 1


def _run(options: argparse.Namespace, bare: bool = False) -> int:
    """bare: no option was given, so the demo will do."""
    exports = [name for name in (options.json, options.csv) if name]
    _check(options)
    from .model.selection import Selection
    from .model.vocabulary import UNKNOWN
    from .output import summary
    from .output.stream import Tee, finish

    _choice(options), Selection.of(options.vm)  # what is wrong with them is told now
    labels = _labels(options)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    streamed = "-" in exports
    # Through a recording the dashboard goes back and forth; programs get it from its beginning to its end.
    programs = bool(exports or options.openmetrics)
    headless = options.batch or streamed or not _terminal() or (programs and _replaying(options))
    tables = options.batch or (headless and not programs)
    serving = headless and options.openmetrics and not tables and not streamed
    flavour = FLAVOURS.get(options.kvm, UNKNOWN)
    with contextlib.ExitStack() as after:
        server = _server(options, after)
        base = _source_or_demo(options) if bare else _source(options)
        # A service has nothing to read again on SIGHUP, and shall not end because somebody thought so.
        with Ending(hangup=not serving) as ending:
            base, outputs = _written(base, options, labels)
            live, origin = base, base.origin
            try:
                if server:
                    from .output.prometheus import Exporter

                    fresh = bool(serving) and not outputs and not _replaying(options)
                    live = exporter = Exporter(live, fresh, origin)
                    server.start(exporter.scrape)
                    if headless:
                        tell(f"serving {server.url}")
                source = Tee(live, outputs, origin) if outputs else live
                if headless:
                    _batch(source, base, options, labels if tables else None, origin, ending)
                else:
                    _dashboard(source, base, options, labels, flavour, ending)
            finally:
                # Also after a failure: what was counted is not lost.
                after.close()
                final = live.close()
                status = _deliver(summary.text(final, flavour), options.dump, to_stdout=not streamed)
                for error in finish(outputs, final, origin):
                    tell(error)
                    status = error.status
                if any(output.broken and output.path is None for output in outputs):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                if final.lost:
                    tell(f"{final.lost} exits were not counted: a BPF map was full")
                if trouble := base.trouble:
                    tell(trouble)
                    status = 1
    return status


def _terminal() -> bool:
    """Whether there is one that can show a dashboard: not one that TERM says obeys no escapes, or says nothing of."""
    able = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return able and all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _replaying(options: argparse.Namespace) -> bool:
    return bool(options.replay or options.demo)


def _source_or_demo(options: argparse.Namespace) -> Source:
    """This host if there is something to see, else the demo, and why."""
    from .bpf import privileges
    from .host import processes

    try:
        if privileges.may_load_bpf() and not any(processes.vcpu_count(pid) for pid in processes.pids()):
            raise KvmtopError(processes.namespace() or "no VM runs here (kvmtop --live waits for one)")
        return _source(options)
    except KvmtopError as why:
        tell(f"{why}. This is the demo, a recording of another host.")
        options.demo = "amd"
        return _source(options)


def _source(options: argparse.Namespace) -> Source:
    """This host, or a recording. Raises KvmtopError."""
    from .model.selection import Selected, Selection

    if _replaying(options):
        for name, given in (("--demo", options.replay and options.demo), ("--record", options.record),
                            ("--live", options.live), ("--event", options.event), ("--slow", options.slow),
                            ("--duration", options.duration),
                            ("--interval", options.interval != 1)):  # fmt: skip
            if given:
                which = "--replay" if options.replay else "--demo"
                raise KvmtopError(f"{name} and {which} do not go together: a recording is shown as it is", 2)
        from .recording.reader import Recording

        return Recording(_recording(options), options.pid, Selection.of(options.vm))
    from .bpf import privileges

    if not privileges.may_load_bpf():
        raise KvmtopError("loading BPF programs needs root: sudo kvmtop")
    if options.record and os.path.lexists(options.record):  # before the probes are loaded
        raise KvmtopError(f"{options.record} exists: choose another name, or remove it", 2)
    from .host import processes
    from .host.live import Live

    if not options.vm:
        return Live(options.pid, look=_look(options))
    selection = Selection.of(options.vm)
    running = [processes.vm(pid) for pid in processes.pids() if processes.vcpu_count(pid)]
    if not any(map(selection.matches, running)):  # one may start later
        tell(f"{selection.missing(running)}: waiting for one")
    return Selected(Live(options.pid, look=_look(options)), selection)


def _recording(options: argparse.Namespace) -> Path:
    return Path(options.replay or Path(__file__).parent / "demo" / f"{options.demo}.kvmtop")


def _written(source: Source, options: argparse.Namespace, labels: Labels) -> tuple[Source, list[Output]]:
    """The source, recorded if it shall be, and the streams of --json and --csv: all of them, or a KvmtopError.

    Only now, when there is something to write, do new files take the place of old ones.
    """
    from functools import partial

    from .output import csv_rows, json_lines, stream
    from .recording.writer import Recorder

    chosen = options.reason is not None or options.sort or options.top or options.no_idle
    choice = _choice(options) if chosen else None
    kinds: dict[str, Callable[..., Output]] = {
        "json": partial(json_lines.output, labels=labels, choice=choice),
        "csv": partial(csv_rows.output, choice=choice),
    }
    paths = _exports(options)
    recorder = None
    try:
        with stream.creating(*paths.values()) as files:
            if options.record:
                recorder = Recorder(source, options.record)
    except (KvmtopError, OSError) as error:
        source.close()
        if recorder:
            recorder.discard()
        if isinstance(error, KvmtopError):
            raise
        raise KvmtopError(f"cannot write {error.filename}: {error.strerror}") from None
    streams = dict(zip(paths, files, strict=True))
    outputs = [
        kind(streams[name], paths[name]) if name in streams else kind(sys.stdout)
        for name, kind in kinds.items() if getattr(options, name)
    ]  # fmt: skip
    return recorder or source, outputs


def _exports(options: argparse.Namespace) -> dict[str, Path]:
    """The files of --json and --csv, by option."""
    names = {"json": options.json, "csv": options.csv}
    return {option: Path(name) for option, name in names.items() if name and name != "-"}


def _check(options: argparse.Namespace) -> None:
    """What can be told from the arguments alone. Raises KvmtopError."""
    outputs = {f"--{option}": path for option, path in {"dump": options.dump, **_exports(options)}.items() if path}
    for path in outputs.values():
        if not os.path.isdir(path.parent):
            raise KvmtopError(f"cannot write {path}: there is no directory {path.parent}", 2)
        if path.is_dir():
            raise KvmtopError(f"cannot write {path}: it is a directory", 2)
        if not _is_stream(path) and not os.access(path.parent, os.W_OK):  # now, not after hours of counting
            raise KvmtopError(f"cannot write {path}: {path.parent} is read-only, or not this user's to write in", 2)
    if options.batch + (options.json, options.csv).count("-") > 1:
        raise KvmtopError("--batch, --json and --csv cannot share standard output: give a FILE, as --json=FILE", 2)
    from . import places

    if options.record:
        outputs |= {"--record": options.record, "the journal of --record": Path(f"{options.record}-journal")}
    inputs = {
        "the recording that is to be read": _recording(options) if _replaying(options) else None,
        "what --guest-kallsyms reads": options.guest_kallsyms,
        "what --memory-map reads": options.memory_map,
    }
    places.check(outputs, {words: path for words, path in inputs.items() if path})


def _is_stream(path: Path) -> bool:
    """Whether it is written to as it is (a pipe, /dev/stdout), and not made anew in its directory."""
    from .output import summary

    return summary.descriptor(path) is not None or (os.path.exists(path) and not os.path.isfile(path))


def _take_terminal() -> None:
    """To be called before Textual is imported."""
    # A shell may export COLUMNS and LINES: Textual would keep to this size for ever. And by its own variables it would
    # import any module (TEXTUAL_DRIVER) and write to any file (TEXTUAL_LOG), as root.
    for name in [name for name in os.environ if name in ("COLUMNS", "LINES") or name.startswith("TEXTUAL")]:
        del os.environ[name]
    if not os.environ.get("NO_COLOR"):  # which means nothing if it is empty; to Textual it does
        os.environ.pop("NO_COLOR", None)
    from .ui.terminal import Vanishing

    sys.__stderr__ = Vanishing(sys.__stderr__)  # type: ignore[assignment,arg-type,misc] # what Textual writes to


def _dashboard(
    source: Source, base: Source, options: argparse.Namespace, labels: Labels, flavour: int, ending: Ending
) -> None:  # fmt: skip
    """base: what the outer sources read, which may be a recording or a recorder."""
    _take_terminal()
    from .recording.reader import Recording
    from .ui.app import KvmtopApp
    from .ui.live_feed import LiveFeed
    from .ui.player import Player
    from .ui.replay_feed import ReplayFeed
    from .ui.viewpoint import Viewpoint

    viewpoint = Viewpoint(
        sorting=options.sort or "time",
        descending=options.sort != "reason",
        leave_idle=options.no_idle,
        filters={"reasons": options.reason or "", "vms": ""},
    )
    if isinstance(base, Recording):
        app: KvmtopApp = Player(ReplayFeed(base), viewpoint, options.dump, flavour, labels)
    else:
        feed = LiveFeed(source, options.interval, options.duration, _look(options))
        app = KvmtopApp(feed, viewpoint, options.dump, flavour, labels)
    app.run_until(ending)
    if app.failure:
        raise app.failure


def _server(options: argparse.Namespace, after: contextlib.ExitStack) -> Server | None:
    """Takes the port of --openmetrics, until `after`."""
    if not options.openmetrics:
        return None
    from .output.http_server import Server

    server = Server(*options.openmetrics)
    after.callback(server.stop)
    return server


def _deliver(text: str, dump: Path | None, to_stdout: bool) -> int:
    """The summary to its file and to standard output, each even if the other fails."""
    from .output import summary

    status = 0
    if dump:
        try:
            summary.write(dump, text)
        except OSError as error:
            tell(f"cannot write {dump}: {error.strerror}")
            status = 1
    if not to_stdout:
        return status
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):  # those: the terminal or the reader has gone
            status = 1
            if error.__context__:  # what failed before says the same
                return status
            tell(f"cannot write the summary to standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status


def _choice(options: argparse.Namespace) -> RowChoice:
    """What the options say of the reasons to show. Raises KvmtopError."""
    from .tables.row_choice import RowChoice

    return RowChoice.of(options.reason, options.sort or "time", options.top, not options.no_idle)


def _look(options: argparse.Namespace) -> DetailRequest | None:
    """What the options ask to be looked at all the time."""
    from .insight.accesses import POLLING, TOUCHED
    from .model.vocabulary import DetailRequest

    if not options.event and not options.slow:
        return None
    kinds = set(options.event) | (TOUCHED if options.slow else set())
    return DetailRequest(frozenset(kinds | POLLING if "poll" in kinds else kinds), slow_ns=options.slow)


def _labels(options: argparse.Namespace) -> Labels:
    from .reference import qemu_mtree
    from .reference.guest_symbols import Symbols
    from .reference.labels import Labels

    symbols = Symbols.read(options.guest_kallsyms) if options.guest_kallsyms else Symbols()
    memory = qemu_mtree.MemoryMap.read(options.memory_map) if options.memory_map else None
    return Labels(symbols=symbols, memory=memory)


def _batch(
    source: Source, base: Source, options: argparse.Namespace, labels: Labels | None, origin: Origin,
    stop: Ending,
) -> None:  # fmt: skip
    """Read the source until the end, and write tables with these labels; none without."""
    from .insight.caveats import silence
    from .output.batch import Batch
    from .recording.reader import Recording

    batch, warned = Batch(sys.stdout, labels, options.event, origin, _choice(options)) if labels else None, False
    replayed = _replay(source, base, options, stop) if isinstance(base, Recording) else None
    for snapshot in replayed or _readings(source, options, batch, stop):
        if batch:
            batch.write(snapshot)
        why = silence(snapshot)
        if why and not warned:
            tell(why)
            warned = True


def _replay(source: Source, base: Recording, options: argparse.Namespace, stop: Ending) -> Iterator[Snapshot]:
    """All of a recording at once; in its own time where somebody scrapes."""
    start = time.monotonic() - base.times[0] / 1e9
    for due in base.times:
        if stop.wait(max(start + due / 1e9 - time.monotonic(), 0) if options.openmetrics else 0):
            return
        yield source.read()


def _readings(source: Source, options: argparse.Namespace, batch: Batch | None, stop: Ending) -> Iterator[Snapshot]:
    """Readings as they are due."""
    most = SLOW_EVERY if options.slow and batch else math.inf
    start = time.monotonic()
    end = start + options.duration if options.duration else math.inf
    due = start
    if options.slow and batch:
        batch.begin(source.read())
    while not stop.is_set() and due < end:
        due = max(due + options.interval, time.monotonic())
        due = due if end - due > options.interval / 100 else end  # sums of floats miss the end by a hair
        while (left := due - time.monotonic()) > 0 and not stop.wait(min(left, most)):
            if options.slow and batch:
                batch.slow(source.slow())
        yield source.read()
