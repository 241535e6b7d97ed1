"""`kvmtop trace FILE`: every single exit of a moment, for ui.perfetto.dev and speedscope."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import KvmtopError, tell
from . import arguments
from .arguments import STDOUT, Parser

if TYPE_CHECKING:
    from ..host.tracing import Trace
    from ..output.chrome_trace import Around, Written
    from ..reference.labels import Labels

SUMMARY = "every single exit of a moment, for Perfetto and speedscope"
MOST = 3600  # seconds


def parser() -> Parser:
    """Its options."""
    p = Parser(
        "trace",
        SUMMARY,
        "A process per VM and a track per vCPU: it is in the guest or in an exit, and of\n"
        "that some is the kernel's, user space's, idle, blocked or a wait for a CPU; the\n"
        "tracks of the CPUs tell who ran instead. Open it at ui.perfetto.dev.",
    )
    p.add_argument(
        "file",
        type=arguments.file_name,
        metavar="FILE",
        help="is made anew (- is standard output); compressed where its name ends in .gz",
    )
    arguments.add_vms(p)
    group = p.add_argument_group("time")
    group.add_argument(
        "-T",
        "--duration",
        type=arguments.seconds(0.01, MOST),
        default=1.0,
        metavar="S",
        help="so many seconds (default 1)",
    )
    group.add_argument(
        "--slow",
        type=arguments.duration,
        metavar="TIME",
        help="only around exits that take so long (1ms), idle ones aside",
    )
    group.add_argument(
        "--around", type=arguments.duration, metavar="TIME", help="so long before and after them (default 5ms)"
    )
    arguments.add_names(p)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError, and OSError of standard output."""
    if options.around and not options.slow:
        raise KvmtopError("--around is around slow exits: say how slow, as --slow 1ms --around 5ms", 2)
    path = None if options.file == STDOUT else Path(options.file)
    if path and path.is_dir():
        raise KvmtopError(f"cannot write {path}: it is a directory", 2)
    if path and not path.parent.is_dir():
        raise KvmtopError(f"cannot write {path}: there is no directory {path.parent}", 2)
    if path:
        from . import places

        places.check({"the trace": path}, {})
    if path is None and sys.stdout.isatty():
        raise KvmtopError("standard output is a terminal: give a FILE, or send it to one", 2)
    try:
        with _created(path) as out:
            trace, done = _traced(options, _beside(path), out)
    except OSError as error:
        if path is None:
            raise
        raise KvmtopError(f"cannot write {path}: {error.strerror}") from None
    _tell(trace, done, path)
    return 0


def _beside(path: Path | None) -> Path | None:
    """The folder for what is recorded and not written yet: where the file will be, if it is one; else None."""
    from ..output import summary

    if path is None or summary.descriptor(path) is not None or (path.exists() and not path.is_file()):
        return None
    return path.parent


def _traced(options: argparse.Namespace, folder: Path | None, out: TextIO) -> tuple[Trace, Written]:
    """Record, and write. Raises KvmtopError and OSError."""
    from ..ending import Ending
    from ..host.live import Live
    from ..host.tracing import Spool, record
    from ..model.selection import Selection
    from ..output import chrome_trace
    from ..reference.labels import Labels
    from . import requests, sources

    selection = Selection.of(options.vm)
    labels = requests.labels(options.guest_kallsyms, options.memory_map)
    sources.some_vm(selection)
    live = sources.host(options.pid)
    assert isinstance(live, Live)
    with contextlib.closing(live), contextlib.closing(Spool(folder)) as spool, Ending() as ending:
        with contextlib.closing(live.timeline()) as probes:
            begun = partial(tell, f"tracing for {options.duration:g} s; Ctrl-C ends it")
            trace = record(live, probes, ending.wait, options.duration, spool, begun)
        labels = Labels(trace.names, labels.symbols, labels.memory)
        around = chrome_trace.Around(options.around or 5_000_000, options.slow) if options.slow else None
        return trace, _written(trace, sorted(selection.pids(trace.vms)), labels, around, out)


def _written(trace: Trace, pids: Sequence[int], labels: Labels, around: Around | None, out: TextIO) -> Written:
    """Write it; a signal that comes meanwhile ends that. Raises KvmtopError and OSError."""
    from ..ending import Ending
    from ..output import chrome_trace

    def write(text: str) -> object:
        if ending.is_set():
            raise KvmtopError("a signal came before the trace was written: there is none")
        return out.write(text)

    with Ending() as ending:
        return chrome_trace.write(trace, pids, labels, around, write)


@contextlib.contextmanager
def _created(path: Path | None) -> Iterator[TextIO]:
    """Where to write; None: standard output. The file has its name once all is in it. Raises OSError."""
    from ..output import stream

    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with stream.creating(path) as (file,):
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", 6, file.buffer) as packed, io.TextIOWrapper(packed, "utf-8") as text:
                yield text
        else:
            yield file
        file.flush()
    file.close()


def _tell(trace: Trace, done: Written, path: Path | None) -> None:
    seconds = (trace.stop_ns - trace.start_ns) / 1e9
    slow = "" if done.slow is None else f" around {_counted(done.slow, 'slow exit', 'slow exits')}"
    what = f"{_counted(done.exits, 'exit', 'exits')} of {_counted(done.vms, 'VM', 'VMs')}{slow} in {seconds:.3g} s"
    tell(f"{what}, for ui.perfetto.dev and speedscope, in {path or 'standard output'}")
    lost = [
        _counted(trace.lost[name], *words)
        for name, words in (("exits", ("exit", "exits")), ("spans", ("switch", "switches")))
        if trace.lost.get(name)
    ]
    if lost:
        tell(f"missing in it: {' and '.join(lost)}, overwritten before kvmtop could read them")


def _counted(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
