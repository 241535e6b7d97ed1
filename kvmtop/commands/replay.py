"""`kvmtop replay FILE` or DIR: a recording, or a store of them, on the dashboard or as text."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from ..errors import KvmtopError
from ..recording.moment import FORMS
from . import arguments
from .arguments import Parser

SUMMARY = "look at a recording: no root, no KVM"


def parser() -> Parser:
    """Its options."""
    p = Parser("replay", SUMMARY)
    p.add_argument("file", type=Path, metavar="FILE", help="what kvmtop record wrote, or a directory of that")
    p.moments = "--at", "--from", "--to"
    group = p.add_argument_group("time")
    group.add_argument("--at", metavar="MOMENT", help=f"begin there: {FORMS}; without a screen, its interval alone")
    group.add_argument("--from", dest="begin", default="", metavar="MOMENT", help="leave out what was before")
    group.add_argument("--to", dest="end", default="", metavar="MOMENT", help="leave out what was after")
    add_options(p)
    return p


def add_options(p: Parser) -> None:
    """What can be asked of any recording."""
    arguments.add_config(p)
    arguments.add_batch(p, "all intervals as tables on standard output, at once")
    arguments.add_vms(p)
    arguments.add_rows(p)
    arguments.add_names(p)
    arguments.add_stacks(p)
    arguments.add_programs(p)
    arguments.add_summary(p)


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    return play(options.file, options, options.at, options.begin, options.end)


def play(path: Path, options: argparse.Namespace, at: str | None = None, begin: str = "", end: str = "") -> int:
    """A recording as these options have it, at a moment or from one to another. Raises KvmtopError."""
    from ..model.selection import Selection
    from ..model.vocabulary import KINDS
    from ..recording.store import Store
    from . import headless, places, requests, screen
    from .outputs import Outputs
    from .run import Metrics, Run

    outputs = Outputs(options.dump, options.kvm, None, options.json, options.csv, options.stacks)
    inputs = places.parts(path)
    names = {"what --guest-kallsyms reads": options.guest_kallsyms, "what --memory-map reads": options.memory_map}
    outputs.check(inputs | names, options.batch)
    labels = requests.labels(options.guest_kallsyms, options.memory_map)
    choice = requests.rows(options.reason, options.sort, options.top, options.idle)
    recording = Store(path, options.pid, Selection.of(options.vm))
    if begin or end:
        recording.stretch(begin, end)
    start = None if at is None else recording.seek(at)
    programs = outputs.programs or options.openmetrics
    # The dashboard goes back and forth; programs get it from its beginning to its end.
    if options.batch or programs or outputs.stacks or not screen.able():
        if start is not None:
            recording.only(start)
        if outputs.stacks and recording.newest().stacks is None:
            raise KvmtopError(f"nobody looked at stacks when {path} ended", 2)
        written = options.batch or not (programs or outputs.stacks)
        tables = headless.Tables(labels, choice, KINDS) if written else None
        times = headless.Replay(recording.played.tolist(), timed=bool(options.openmetrics))
        show = partial(headless.follow, schedule=times, tables=tables)
    else:
        config = arguments.dashboard(options)
        show = partial(
            screen.player,
            recording=recording,
            start=start or 0,
            labels=labels,
            choice=choice,
            outputs=outputs,
            config=config,
        )
    metrics = None
    if options.openmetrics:
        service = not options.batch and not outputs.streamed
        metrics = Metrics(options.openmetrics, service, fresh=False)
    return Run(lambda: recording, show, outputs, metrics, labels, choice).status()
