"""What commands take: the types of options, and the groups of them that several commands have."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..errors import KvmtopError

if TYPE_CHECKING:
    from ..config.file import Config

FLAVOURS = {"intel": 1, "amd": 2}
# KINDS of model/vocabulary.py in the order in which people ask for them; numpy must not be imported for --help.
EVENTS = (
    *("io", "mmio", "msr", "cpuid", "hypercall", "hyperv", "fault", "vector"),
    *("user", "vmgexit", "cr", "apic", "rip", "poll"),
)
SCHEDULER = "sched"  # no kind of what exits touch, so it is not of "all"
ADDRESS = "[ADDR:]PORT"
STDOUT = "-"


class Parser(argparse.ArgumentParser):
    """A command's: what is wrong with its arguments is a KvmtopError."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        """command: its name; description: what it does, in one line."""
        super().__init__(
            prog="kvmtop" if command == "live" else f"kvmtop {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.command = command
        self.moments: tuple[str, ...] = ()  # options that take moments, such as -10m, which looks like an option

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options. Raises KvmtopError."""
        words: list[str] = []
        for word in argv:
            if words and words[-1] in self.moments and re.match("-[0-9]", word):
                words[-1] += f"={word}"
            else:
                words.append(word)
        options, unknown = self.parse_known_args(words)
        if unknown:
            self.refuse(unknown)
        return options

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Raises KvmtopError: it has nothing of this."""
        self.error(f"unrecognized arguments: {' '.join(words)}")

    def error(self, message: str) -> NoReturn:
        """Raises KvmtopError."""
        if "arguments are required" in message and any(a.nargs == "?" and a.option_strings for a in self._actions):
            message += "; write it before --json and --csv, which would take it for their own"
        raise KvmtopError(f"{message} (kvmtop help {self.command} lists the options)", 2)


def seconds(least: float, most: float = math.inf) -> type[float]:
    """The type of a number of seconds between these."""

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


def address(text: str) -> tuple[str, int]:
    """[ADDR:]PORT."""
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")  # as the socket module will, which fails with this error
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"{host[:60]!r} is no address and no name of a host") from None
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not [ADDR:]PORT, such as 9960, 0.0.0.0:9960 or [::]:9960")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


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
    if unknown := [kind for kind in kinds if kind not in ("all", *EVENTS, SCHEDULER)]:
        raise argparse.ArgumentTypeError(f"{unknown[0][:40]!r} is none of all, {', '.join(EVENTS)}, {SCHEDULER}")
    return list(dict.fromkeys(one for kind in kinds for one in (EVENTS if kind == "all" else (kind,))))


def duration(text: str) -> int:
    """ns of "1ms", "500us", "2s"."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ns|us|µs|ms|s)", text, re.ASCII)
    ns = round(float(match[1]) * {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}[match[2]]) if match else 0
    if not 0 < ns <= 3600e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time such as 1ms, 500us or 2s (up to an hour)")
    return ns


def age(text: str) -> float:
    """Seconds of "7d", "12h", "30min"."""
    found = _long(text)
    if not 60 <= found <= 1e10:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time such as 7d, 12h or 30min (at least 1min)")
    return found


def _long(text: str) -> float:
    """The same, of any length; 0: it is none."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|h|d|w)", text, re.ASCII)
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]] if match else 0.0


def thin(text: str) -> tuple[tuple[float, float], ...]:
    """(age, step) in seconds of "1d:10s,7d:1min"; of "never" none."""
    if text == "never":
        return ()
    parts = [one.partition(":") for one in text.split(",")]
    found = tuple((_long(after), _long(step)) for after, _, step in parts)
    rising = all(a < b for one, other in pairwise([(59.0, 1.0), *found]) for a, b in zip(one, other, strict=True))
    if not rising or len(found) > 4 or found[-1][0] > 1e10 or found[-1][1] > 86400:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is neither 'never' nor ages, each with a longer step: 1d:10s,7d:1min (up to four)"
        )
    return found


def size(text: str) -> int:
    """Bytes of "10G", "500M"; G is a thousand millions."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*([kMGT])B?", text, re.ASCII)
    size = round(float(match[1]) * 1000 ** (" kMGT".index(match[2]))) if match else 0
    if not 10**7 <= size <= 10**15:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a size such as 10G or 500M (at least 10M)")
    return size


def _global(text: str) -> str:
    name, _, value = text.partition("=")
    if name != "kvm" or value not in FLAVOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither kvm=intel nor kvm=amd")
    return value


def file_name(text: str) -> str:
    """The type of a file's name."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a file")
    return text


def add_vms(p: Parser, by_pid: bool = True) -> None:
    """Some of the VMs of a host or a recording: by process id, if that tells them apart, or by name."""
    group = p.add_argument_group("VMs")
    if by_pid:
        group.add_argument(
            "-p",
            "--pid",
            type=_pids,
            action="extend",
            default=[],
            metavar="PID",
            help="watch this VM only; repeatable, or a comma-separated list",
        )
    group.add_argument(
        "--vm",
        action="append",
        default=[],
        metavar="NAME",
        help="VMs of this name (also Proxmox's VMID, a UUID) or pattern ('web*') only, those that start later too;"
        " repeatable",
    )


def add_schedule(p: Parser) -> None:
    """When to read a live host."""
    group = p.add_argument_group("time")
    group.add_argument("-T", "--duration", type=seconds(0.1), metavar="S", help="end after so many seconds")
    group.add_argument(
        "-i",
        "--interval",
        type=seconds(0.1, 3600),
        default=1.0,
        metavar="S",
        help="seconds between two readings (default 1)",
    )


def add_summary(p: Parser) -> None:
    """The table at the end of a run."""
    group = p.add_argument_group("summary")
    group.add_argument("-o", "--dump", type=Path, metavar="FILE", help="write the closing summary to FILE as well")
    group.add_argument("--kvm", choices=FLAVOURS, help="how to write the summary where the kernel does not tell")
    group.add_argument("-G", dest="kvm", type=_global, metavar="kvm=intel|amd", help="the same, as SystemTap spells it")


def add_batch(p: Parser, what: str) -> None:
    """No screen. what: is printed instead."""
    p.add_argument(
        "-b",
        "--batch",
        action="store_true",
        help=f"{what}; also without a terminal, or on one that TERM calls dumb, unknown or nothing at all",
    )


def add_rows(
    p: Parser,
    sort: str = "sort tables, --json and --csv: reason, rate, time, avg, p99, …",
    idle_last: bool = True,
) -> None:
    """Which reasons, and in which order. sort: the help for that; idle_last: unless somebody asks for them."""
    group = p.add_argument_group("reasons")
    group.add_argument("--reason", metavar="REGEX", help="only reasons whose names match")
    group.add_argument("--sort", metavar="COLUMN", help=sort)
    group.add_argument("--top", type=_count, metavar="N", help="the first N reasons, in tables, --json and --csv")
    idle = group.add_mutually_exclusive_group()
    if idle_last:
        idle.add_argument(
            "--idle",
            action="store_const",
            const="in",
            default="last",
            help="idle reasons among the others, as with the key i; else tables have them last, and TIME%% is without"
            " them",
        )
    idle.add_argument(
        "--no-idle", dest="idle", action="store_const", const="out", default="last", help="leave out idle reasons"
    )


def add_details(p: Parser) -> None:
    """What is looked at beside the counters, and names for it."""
    group = p.add_argument_group("details")
    _add_kinds(group, "--event")
    group.add_argument(
        "--slow",
        type=duration,
        metavar="TIME",
        help="print each exit that lasts so long (1ms, 500us, 2s), idle ones aside",
    )
    _add_names(group)


def add_recorded(p: Parser) -> None:
    """What is looked at all the time, to be recorded; and how much of it is kept in a directory."""
    group = p.add_argument_group("details")
    _add_kinds(group, "--details")
    group.add_argument(
        "--slow", type=duration, metavar="TIME", help="also each exit that lasts so long (1ms, 500us, 2s)"
    )
    group = p.add_argument_group("in a directory")
    group.add_argument("--keep", type=age, metavar="TIME", help="drop what is older than this: 12h, 7d, 4w")
    group.add_argument(
        "--max-size", type=size, metavar="SIZE", help="drop the oldest rather than take more than this (default 10G)"
    )
    group.add_argument(
        "--thin",
        type=thin,
        metavar="AGE:STEP",
        help="leave one reading in each STEP of what is older than AGE, or never (default 1d:10s,7d:1m)",
    )
    group.add_argument("--status", action="store_true", help="say who records to DIR, and what is in it, and end")


def _add_kinds(group: argparse._ArgumentGroup, option: str) -> None:
    group.add_argument(
        option,
        type=_kinds,
        action="extend",
        default=[],
        metavar="KIND",
        help=f"also what exits touched: all, or some of {', '.join(EVENTS)}; comma-separated; sched:"
        " behind whom vCPUs wait for a CPU, who wakes them, what they are blocked on",
    )


def add_names(p: Parser) -> None:
    """Names for what is looked at."""
    _add_names(p.add_argument_group("names"))


def _add_names(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--guest-kallsyms",
        type=Path,
        metavar="FILE",
        help="name guest code by a copy of the guest's /proc/kallsyms or System.map",
    )
    group.add_argument(
        "--memory-map", type=Path, metavar="FILE", help="name addresses by the output of QEMU's `info mtree -f`"
    )


def add_stacks(p: Parser) -> None:
    """Where in the kernel exits spend their time."""
    group = p.add_argument_group("kernel")
    group.add_argument(
        "--stacks",
        nargs="?",
        const=STDOUT,
        type=file_name,
        metavar="FILE",
        help="where in the kernel the exits spend their time, by its stacks: after the summary, or folded into FILE for"
        " flame graphs (weights in µs); without a screen",
    )


def add_programs(p: Parser) -> None:
    """Each interval for programs."""
    group = p.add_argument_group("programs")
    for option, what in (
        ("--json", "an object per interval, and the summary as the last"),
        ("--csv", "a row per interval, VM and reason"),
    ):
        help = f"{what}, on standard output or in FILE"
        group.add_argument(option, nargs="?", const=STDOUT, type=file_name, metavar="FILE", help=help)
    group.add_argument(
        "--openmetrics",
        type=address,
        metavar=ADDRESS,
        help="serve /metrics for Prometheus, on this host alone without ADDR",
    )


def add_config(p: Parser) -> None:
    """How the dashboard looks."""
    group = p.add_argument_group("dashboard")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--config",
        type=file_name,
        metavar="FILE",
        help="how it shall look (default: ~/.config/kvmtop/config.toml, also under sudo)",
    )
    one.add_argument("--no-config", action="store_true", help="as it comes")


def config(options: argparse.Namespace) -> Config:
    """What --config, --no-config or neither asks for. Raises KvmtopError."""
    from ..config.file import Config

    if options.no_config:
        return Config()
    return Config.load(Path(options.config) if options.config else None)


def dashboard(options: argparse.Namespace) -> Config:
    """The same, where --sort, --idle and --no-idle do not say otherwise. Raises KvmtopError."""
    found = config(options)
    if options.sort is not None:
        found.preferences = found.preferences.but(sort=options.sort, reverse=False)
    if options.idle != "last":
        found.preferences = found.preferences.but(idle=options.idle == "in")
    return found
